"""From noise to sample: step tables, replayable noise, and the solvers that fill a trajectory.

A solver knows a callable, not a robot:

    table = step_table(scheduler)
    noise = NoisePath.draw(generators, table.steps, shape)
    solution = Picard(table, window=20, tolerance=0.1).solve(denoiser, condition, noise)
"""

from paradp.sampler.analytic import mixture_denoiser
from paradp.sampler.names import SAMPLERS, SamplerChoice, sampler_names
from paradp.sampler.noise import NoisePath
from paradp.sampler.picard import Picard
from paradp.sampler.rounds import Graphs
from paradp.sampler.schedules import step_table
from paradp.sampler.sequential import Sequential
from paradp.sampler.solution import Denoiser, Solution, Solver, SolverStats, Status
from paradp.sampler.speculative import Speculative
from paradp.sampler.table import StepTable

__all__ = [
    "SAMPLERS",
    "Denoiser",
    "Graphs",
    "NoisePath",
    "Picard",
    "SamplerChoice",
    "Sequential",
    "Solution",
    "Solver",
    "SolverStats",
    "Speculative",
    "Status",
    "StepTable",
    "mixture_denoiser",
    "sampler_names",
    "step_table",
]

"""From noise to sample: step tables, replayable noise, and the solvers that fill a trajectory.

A solver knows a callable, not a robot:

    table = step_table(scheduler)
    noise = NoisePath.draw(generators, table.steps, shape)
    solution = Picard(table, window=20, tolerance=0.1).solve(denoiser, condition, noise)
"""

from typing import TYPE_CHECKING

from paradp.sampler.lazy import lazy_exports

if TYPE_CHECKING:
    from paradp.sampler.analytic import mixture_denoiser
    from paradp.sampler.draft_model import DraftModel
    from paradp.sampler.names import SAMPLERS, SamplerChoice, sampler_names
    from paradp.sampler.noise import NoisePath
    from paradp.sampler.picard import Picard
    from paradp.sampler.rounds import Graphs
    from paradp.sampler.schedules import step_table
    from paradp.sampler.sequential import Sequential
    from paradp.sampler.solution import Denoiser, Solution, Solver, SolverStats, Status
    from paradp.sampler.speculative import Round, Speculative, rounds_of
    from paradp.sampler.table import StepTable
else:
    __getattr__, __dir__, __all__ = lazy_exports(
        __name__,
        {
            "analytic": "mixture_denoiser",
            "draft_model": "DraftModel",
            "names": "SAMPLERS SamplerChoice sampler_names",
            "noise": "NoisePath",
            "picard": "Picard",
            "rounds": "Graphs",
            "schedules": "step_table",
            "sequential": "Sequential",
            "solution": "Denoiser Solution Solver SolverStats Status",
            "speculative": "Round Speculative rounds_of",
            "table": "StepTable",
        },
    )

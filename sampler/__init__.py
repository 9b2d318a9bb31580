"""Diffusion sampling: step tables, replayable noise, and sequential and parallel solvers.

A solver only needs a callable denoiser:

    table = step_table(scheduler)
    noise = NoisePath.draw(generators, table.steps, shape)
    solution = Picard(table, window=20, tolerance=0.1).solve(denoiser, condition, noise)
"""

from typing import TYPE_CHECKING

from paradp.sampler.lazy import lazy_exports

if TYPE_CHECKING:
    from paradp.sampler.analytic import mixture_denoiser
    from paradp.sampler.draft_model import DraftModel
    from paradp.sampler.families import SAMPLERS, Way, register_solver, sampler_names
    from paradp.sampler.names import SamplerChoice
    from paradp.sampler.noise import NoisePath
    from paradp.sampler.rounds.captured import Graphs
    from paradp.sampler.rounds.torch.picard import iterates_of
    from paradp.sampler.rounds.torch.speculative import Round, rounds_of
    from paradp.sampler.schedules import step_table
    from paradp.sampler.solution import Denoiser, Solution, Solver, SolverStats, Status
    from paradp.sampler.solvers.picard import Picard
    from paradp.sampler.solvers.sequential import Sequential
    from paradp.sampler.solvers.speculative import Speculative
    from paradp.sampler.table import StepTable
else:
    __getattr__, __dir__, __all__ = lazy_exports(
        __name__,
        {
            "analytic": "mixture_denoiser",
            "draft_model": "DraftModel",
            "families": "SAMPLERS Way register_solver sampler_names",
            "names": "SamplerChoice",
            "noise": "NoisePath",
            "rounds.captured": "Graphs",
            "rounds.torch.picard": "iterates_of",
            "rounds.torch.speculative": "Round rounds_of",
            "schedules": "step_table",
            "solution": "Denoiser Solution Solver SolverStats Status",
            "solvers.picard": "Picard",
            "solvers.sequential": "Sequential",
            "solvers.speculative": "Speculative",
            "table": "StepTable",
        },
    )

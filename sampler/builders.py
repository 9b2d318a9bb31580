"""From a sampler's name to its solver, on the noise schedule that a network was trained with."""

from collections.abc import Callable, Mapping

from paradp.sampler.picard import Picard
from paradp.sampler.schedules import ddim_table, ddpm_table, dpm_solver_table
from paradp.sampler.sequential import Sequential
from paradp.sampler.solution import Solver
from paradp.sampler.speculative import Speculative

# A scheduler or its config, the number of steps if the name has one, and the options given → a solver.
BUILDERS: Mapping[str, Callable[..., Solver]] = {
    "ddpm": lambda scheduler: Sequential(ddpm_table(scheduler)),
    "ddim": lambda scheduler, steps, **options: Sequential(ddim_table(scheduler, steps, **options)),
    "dpm-solver": lambda scheduler, steps: Sequential(dpm_solver_table(scheduler, steps)),
    "para-ddpm": lambda scheduler, **options: Picard(ddpm_table(scheduler), **options),
    "para-ddim": lambda scheduler, steps, eta=0.0, spacing=None, **options: Picard(
        ddim_table(scheduler, steps, eta=eta, spacing=spacing), **options
    ),
    "para-dpm-solver": lambda scheduler, steps, **options: Picard(dpm_solver_table(scheduler, steps), **options),
    "speculative-ddpm": lambda scheduler, **options: Speculative(ddpm_table(scheduler), **options),
}

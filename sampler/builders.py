"""From a sampler's name to its solver, on the noise schedule that a network was trained with."""

from collections.abc import Callable, Mapping
from typing import Any

from paradp.sampler.picard import Picard
from paradp.sampler.schedules import ddim_table, ddpm_table, dpm_solver_table
from paradp.sampler.sequential import Sequential
from paradp.sampler.solution import Solver
from paradp.sampler.speculative import Speculative
from paradp.sampler.table import StepTable

Config = Mapping[str, Any]
# What the schedulers' configs have in common: the schedule that a network was trained with.
_SCHEDULE_KEYS = (
    "num_train_timesteps",
    "beta_start",
    "beta_end",
    "beta_schedule",
    "trained_betas",
    "prediction_type",
    "timestep_spacing",
    "steps_offset",
    "rescale_betas_zero_snr",
)


def _ddim(config: Config, steps: int, eta: float = 0.0, spacing: str | None = None) -> StepTable:
    clip = {key: config[key] for key in ("clip_sample", "clip_sample_range") if key in config}
    spaced = {} if spacing is None else {"timestep_spacing": spacing}
    return ddim_table(_schedule(config) | clip | spaced, steps, eta=eta)


def _dpm_solver(config: Config, steps: int) -> StepTable:
    clip = float(config.get("clip_sample_range", 1.0)) if config.get("clip_sample", True) else None
    return dpm_solver_table(_schedule(config), steps, clip=clip)


def _schedule(config: Config) -> dict[str, Any]:
    return {key: config[key] for key in _SCHEDULE_KEYS if key in config}


# A scheduler's config, the number of steps if the name has one, and the options given → a solver.
BUILDERS: Mapping[str, Callable[..., Solver]] = {
    "ddpm": lambda config: Sequential(ddpm_table(config)),
    "ddim": lambda config, steps, **options: Sequential(_ddim(config, steps, **options)),
    "dpm-solver": lambda config, steps: Sequential(_dpm_solver(config, steps)),
    "para-ddpm": lambda config, **options: Picard(ddpm_table(config), **options),
    "para-ddim": lambda config, steps, eta=0.0, spacing=None, **options: Picard(
        _ddim(config, steps, eta, spacing), **options
    ),
    "para-dpm-solver": lambda config, steps, **options: Picard(_dpm_solver(config, steps), **options),
    "speculative-ddpm": lambda config, **options: Speculative(ddpm_table(config), **options),
}

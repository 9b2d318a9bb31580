"""Step tables of networks that were distilled into a consistency model: they predict the end of the trajectory at once."""

from collections.abc import Sequence

import torch
from diffusers import DDIMScheduler
from torch import Tensor

from paradp.sampler.schedules.assembly import assembled, following
from paradp.sampler.schedules.described import Described, Scheduler
from paradp.sampler.schedules.diffusion import clean_sample_coefficients
from paradp.sampler.schedules.grids import grid
from paradp.sampler.schedules.reading import read_settings
from paradp.sampler.schedules.settings import ConsistencySettings
from paradp.sampler.table import StepTable

# Luo et al.'s σ_data.
_DATA_DEVIATION = 0.5


def consistency_table(
    scheduler: Scheduler | Described,
    steps: int | None = None,
    timesteps: Sequence[int] | None = None,
    spacing: str | None = None,
) -> StepTable:
    """Multistep consistency sampling (Song et al. 2023, Algorithm 1; Luo et al. 2023): with f = c_skip x + c_out clip(x̂0)

        x_{k+1} = √ᾱ' f(x_k, t_k) + √(1−ᾱ') ξ_k,    and x_T = f(x_{T−1}, t_{T−1})

    A step noises the predicted sample anew, so that but for c_skip, which is 0 nearly everywhere, a = 0.
    """
    settings = read_settings(ConsistencySettings, scheduler, **({} if spacing is None else {"timestep_spacing": spacing}))
    # LCMScheduler has only one grid of its own, and no setting for the spacing.
    visited, bar = grid(settings, settings.build(DDIMScheduler), steps, timesteps)
    after = following(bar, 1.0)
    skip, out = _boundary(settings, visited)
    from_state, from_prediction = clean_sample_coefficients(bar, settings.prediction_type)
    return assembled(
        visited,
        bar,
        settings.clip,
        f"{settings.prediction_type} prediction",
        from_state,
        from_prediction,
        a=after.sqrt() * skip,
        c=after.sqrt() * out,
        sigma=(1 - after).sqrt(),
    )


def boundary(scheduler: Scheduler) -> tuple[Tensor, Tensor]:
    """c_skip and c_out at all timesteps of the training, `[N]` each. At t = 0 they are 1 and 0, so that f(x, 0) = x."""
    settings = read_settings(ConsistencySettings, scheduler)
    return _boundary(settings, torch.arange(settings.num_train_timesteps))


def _boundary(settings: ConsistencySettings, timesteps: Tensor) -> tuple[Tensor, Tensor]:
    scaled = timesteps.double() * settings.timestep_scaling
    squared = scaled**2 + _DATA_DEVIATION**2
    return _DATA_DEVIATION**2 / squared, scaled / squared.sqrt()

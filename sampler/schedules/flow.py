"""Step tables of networks that were trained by flow matching: they predict the velocity along a straight line."""

from collections.abc import Sequence

import numpy as np
import torch

from paradp.sampler.schedules.assembly import assembled, following
from paradp.sampler.schedules.described import Described, Scheduler
from paradp.sampler.schedules.grids import decreasing, wanted
from paradp.sampler.schedules.reading import read_settings
from paradp.sampler.schedules.settings import FlowSettings
from paradp.sampler.table import StepTable


def flow_table(
    scheduler: Scheduler | Described, steps: int | None = None, timesteps: Sequence[int] | None = None
) -> StepTable:
    """Euler's steps of dx/dτ = v(x, τ) from τ = 1 to 0 (rectified flow, Liu et al. 2023; Lipman et al. 2023).

    On the line x = (1−τ) x_0 + τ ε the velocity is v = ε − x_0, so that the network predicts the clean sample
    x̂0 = x − τ v; and x + (τ'−τ) v is, written with it,

        a = τ'/τ,   c = 1 − τ'/τ,   σ = 0

    Nothing is clipped, as in diffusers' scheduler. The network is told the timestep N τ, from N to 1.

    Args:
        scheduler: a `FlowMatchEulerDiscreteScheduler` or its config.
        steps: T: τ = 1, 1 − 1/T, …, 1/T, rounded to the timesteps of the training.
        timesteps: the grid itself, decreasing from N at most to 1 at least, instead of `steps`.
    """
    settings = read_settings(FlowSettings, scheduler)
    if timesteps is not None and steps is not None:
        raise ValueError("steps and timesteps cannot both be given: timesteps are the whole grid")
    trained = settings.num_train_timesteps
    visited = decreasing(_spread(steps, trained) if timesteps is None else timesteps, 1, trained)
    time = visited.double() / trained
    after = following(time, 0.0)
    # The size of a state on the line, and ᾱ of the same ratio of signal to noise.
    size = ((1 - time) ** 2 + time**2).sqrt()
    return assembled(
        visited,
        ((1 - time) / size) ** 2,
        None,
        "flow prediction",
        torch.ones_like(time),
        -time,
        a=after / time,
        c=1 - after / time,
        sigma=torch.zeros_like(time),
        stretch=torch.cat([following(size, 1.0), size.new_ones(1)]),
    )


def _spread(steps: int | None, trained: int) -> list[int]:
    """Evenly, from the last timestep of the training on."""
    count = wanted(steps, trained)
    spread: list[int] = np.round(np.arange(count, 0, -1) * (trained / count)).astype(int).tolist()
    return spread

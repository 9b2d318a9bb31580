"""Step tables of networks that were trained by flow matching: they predict the velocity along a straight line."""

from collections.abc import Sequence

import numpy as np
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from torch import Tensor

from paradp.sampler.schedules.assembly import assembled, following
from paradp.sampler.schedules.described import Described, Scheduler, grid_of
from paradp.sampler.schedules.grids import decreasing_times, wanted
from paradp.sampler.schedules.reading import read_settings
from paradp.sampler.schedules.settings import FlowSettings
from paradp.sampler.table import StepTable

# diffusers computes sigmas in float32. With a shift s below 1, the first sigma then exceeds 1, by up to 1e-7 / s².
_ROUNDING = 1e-3


# Long: two thirds are documentation: the formulas, and how the grid differs from diffusers'.
def flow_table(
    scheduler: Scheduler | Described,
    steps: int | None = None,
    timesteps: Sequence[float] | None = None,
    sigmas: Sequence[float] | None = None,
) -> StepTable:
    """Euler's steps of dx/dτ = v(x, τ) from τ = 1 to 0 (rectified flow, Liu et al. 2023; Lipman et al. 2023).

    On the line x = (1−τ) x_0 + τ ε the velocity is v = ε − x_0, so the network predicts the clean sample x̂0 = x − τ v.
    Written with x̂0, Euler's step x + (τ'−τ) v has the coefficients

        a = τ'/τ,   c = 1 − τ'/τ,   σ = 0

    Nothing is clipped, as in diffusers' scheduler. The network's input is the timestep N τ.

    Without a shift, T steps use timesteps of the training: τ = 1, 1 − 1/T, …, 1/T, rounded to k/N. diffusers instead spreads
    τ evenly from 1 to 1/N, without rounding. With a shift s the grid is that of diffusers: evenly spread from 1 to the
    shifted 1/N, and then shifted, τ → s τ / (1 + (s−1) τ). There N τ is not an integer.

    Args:
        scheduler: a `FlowMatchEulerDiscreteScheduler` or its config.
        steps: T; by default the N timesteps of the training, shifted.
        timesteps: the grid itself, N τ, instead of `steps`: decreasing numbers, at most N and above 0. They are not shifted.
        sigmas: τ at each of `timesteps`, if it is not t/N. The network's inputs are then not N τ, as after diffusers'
            `set_timesteps(sigmas=…, timesteps=…)`.

    Raises:
        ValueError: as `step_table`.
    """
    described = Described.of(scheduler)
    settings = read_settings(FlowSettings, described)
    if timesteps is None:
        if sigmas is not None:
            raise ValueError("sigmas need timesteps: they are the values of τ at these")
        timesteps, sigmas = _spread(settings, described.set_shift, steps)
    elif steps is not None:
        raise ValueError("steps and timesteps cannot both be given: timesteps are the whole grid")
    visited, time = _checked(timesteps, sigmas, settings.num_train_timesteps)
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


def _checked(timesteps: Sequence[float], sigmas: Sequence[float] | None, trained: int) -> tuple[Tensor, Tensor]:
    """The timesteps of a grid, and τ at each of them, `[T]` each."""
    if sigmas is None:
        visited = decreasing_times(timesteps, trained)
        return visited, visited.double() / trained
    if len(sigmas) != len(timesteps):
        raise ValueError(f"there are {len(sigmas)} sigmas for {len(timesteps)} timesteps")
    visited = decreasing_times(timesteps, trained, beyond=_ROUNDING)
    return visited, decreasing_times(sigmas, 1, beyond=_ROUNDING, name="sigma").double()


def _spread(
    settings: FlowSettings, set_shift: float | None, steps: int | None
) -> tuple[Sequence[float], Sequence[float] | None]:
    """The timesteps and sigmas of T steps, or of all that the network was trained with."""
    trained = settings.num_train_timesteps
    count = wanted(steps, trained)
    # In diffusers, `set_shift` takes effect at the next `set_timesteps`.
    if settings.shift == 1 and (set_shift is None or steps is None):
        return np.round(np.arange(count, 0, -1) * (trained / count)).astype(int).tolist(), None
    theirs = FlowMatchEulerDiscreteScheduler(num_train_timesteps=trained, shift=settings.shift)
    if set_shift is not None:
        theirs.set_shift(set_shift)
    if steps is not None:
        theirs.set_timesteps(count)
    grid = grid_of(theirs)
    return grid["timesteps"], grid.get("sigmas")

"""Which of the training's timesteps a table visits: so many of them, evenly spread, or those that are given."""

import math
import numbers
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from paradp.sampler.scheduler_config import Schedule


def grid(settings: Schedule, scheduler: Any, steps: int | None, timesteps: Sequence[int] | None) -> tuple[Tensor, Tensor]:
    """The timesteps `[T]` and ᾱ at each of them.

    Args:
        settings: the schedule, with its `timestep_spacing`.
        scheduler: diffusers' own of the same settings, which spreads the timesteps.
        steps: T; all of the training's timesteps unless given.
        timesteps: the grid itself, instead of `steps`.

    Raises:
        ValueError: there are more steps than trained timesteps, or fewer than one; or the timesteps do not decrease inside
            the schedule.
    """
    if timesteps is not None:
        if steps is not None:
            raise ValueError("steps and timesteps cannot both be given: timesteps are the whole grid")
        found, so_spaced = list(timesteps), ""
    else:
        found, so_spaced = _spread(settings, scheduler, steps)
    visited = decreasing(found, 0, settings.num_train_timesteps - 1, so_spaced)
    return visited, scheduler.alphas_cumprod.double()[visited]


def decreasing(timesteps: Sequence[int], low: int, high: int, so_spaced: str = "") -> Tensor:
    """A grid `[T]`, checked.

    Args:
        timesteps: from noise to data.
        low, high: the least and the most that a timestep can be.
        so_spaced: how an error begins.

    Raises:
        ValueError: there are none, or they do not decrease, or not from `high` to `low`; the message names the step.
    """
    found = [_whole(t, "a timestep") for t in timesteps]
    if not found:
        raise ValueError("the schedule has no timesteps")
    for step, t in enumerate(found):
        if not low <= t <= high:
            raise ValueError(f"{so_spaced}step {step} is at timestep {t}, outside {low} … {high}")
        if step and t >= found[step - 1]:
            raise ValueError(f"{so_spaced}timesteps must decrease, but step {step} goes from {found[step - 1]} to {t}")
    return torch.tensor(found)


def wanted(steps: int | None, trained: int) -> int:
    """The number of steps that is asked for; all of the training's timesteps unless given.

    Raises:
        ValueError: there are more steps than trained timesteps, or fewer than one.
    """
    count = trained if steps is None else _whole(steps, "the number of steps")
    if count < 1:
        raise ValueError(f"the schedule needs at least one step, not {count}")
    if count > trained:
        raise ValueError(f"{count} steps are too many: the network was trained with {trained} timesteps")
    return count


def _spread(settings: Schedule, scheduler: Any, steps: int | None) -> tuple[list[int], str]:
    """T timesteps by the schedule's spacing, and how an error about them begins."""
    trained = settings.num_train_timesteps
    count = wanted(steps, trained)
    if settings.timestep_spacing == "sine":
        return sine_grid(count, trained), ""
    scheduler.set_timesteps(count)
    offset = f" (steps_offset = {settings.steps_offset})" if settings.steps_offset else ""
    # Where T does not divide N, rounding can give diffusers' `trailing` grids one entry too many, −1 (29 of 100 are so).
    return scheduler.timesteps.tolist()[:count], f"{count} steps are too many for {trained} timesteps so spaced{offset}: "


def sine_grid(steps: int, trained: int) -> list[int]:
    """T of N timesteps at (N − 1) sin⁴(πu/2) with u evenly from 1 to 0; where they meet, neighbours move apart.

    A rule in place of grids that are fitted to each policy (`paradp.sampler.fitted_grids`): `paradp study grids` compares
    the two, and both with even spacing.
    """
    if steps == 1:
        return [trained - 1]
    u = torch.linspace(1, 0, steps, dtype=torch.float64)
    found = ((trained - 1) * torch.sin(math.pi / 2 * u) ** 4).round().long().tolist()
    for k in range(1, steps):
        found[k] = min(found[k], found[k - 1] - 1)
    return [max(t, steps - 1 - k) for k, t in enumerate(found)]


def _whole(number: Any, name: str) -> int:
    """numpy's and torch's whole numbers as well."""
    value = number.item() if isinstance(number, Tensor) and number.ndim == 0 else number
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise ValueError(f"{name} must be a whole number, not {value!r}")
    return int(value)

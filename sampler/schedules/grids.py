"""Grids of timesteps: T of the training's timesteps by a spacing, or given ones."""

import math
import numbers
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from paradp.sampler.schedules.settings import Schedule, whole


def grid(settings: Schedule, scheduler: Any, steps: int | None, timesteps: Sequence[int] | None) -> tuple[Tensor, Tensor]:
    """The timesteps `[T]` and ᾱ at each of them.

    Args:
        settings: the schedule, with its `timestep_spacing`.
        scheduler: diffusers' scheduler with the same settings, which spreads the timesteps.
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
        low, high: smallest and largest allowed timestep.
        so_spaced: the start of error messages.

    Raises:
        ValueError: there are none, or they do not decrease, or not from `high` to `low`; the message names the step.
    """
    found = [_whole(t, "a timestep") for t in timesteps]
    for step, t in enumerate(found):
        if not low <= t <= high:
            raise ValueError(f"{so_spaced}step {step} is at timestep {t}, outside {low} … {high}")
    return _decreasing(found, "timesteps", so_spaced)


def decreasing_times(times: Sequence[float], high: float, beyond: float = 0.0, name: str = "timestep") -> Tensor:
    """A grid `[T]` of times above 0, checked: int64 where all are whole numbers, else float64.

    Args:
        times: from noise to data.
        high: largest allowed time.
        beyond: relative tolerance above `high`, for rounding.
        name: the name of a time in error messages.

    Raises:
        ValueError: there are none, one is not a number, or they do not decrease from at most `high` to above 0; the message
            names the step.
    """
    found = [_number(t, f"a {name}") for t in times]
    for step, t in enumerate(found):
        if not 0 < t <= high * (1 + beyond):
            raise ValueError(f"step {step} is at {name} {t}: it must be above 0 and at most {high}")
    if not all(isinstance(t, int) for t in found):
        found = [float(t) for t in found]
    return _decreasing(found, f"{name}s")


def _decreasing(found: Sequence[float], name: str, so_spaced: str = "") -> Tensor:
    if not found:
        raise ValueError(f"the schedule has no {name}")
    for step, (before, after) in enumerate(pairwise(found), start=1):
        if after >= before:
            raise ValueError(f"{so_spaced}{name} must decrease, but step {step} goes from {before} to {after}")
    return torch.tensor(found, dtype=torch.int64 if isinstance(found[0], int) else torch.float64)


def wanted(steps: int | None, trained: int) -> int:
    """The requested number of steps; by default all timesteps of the training.

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
    """T timesteps by the schedule's spacing, and the start of an error message about them."""
    trained = settings.num_train_timesteps
    count = wanted(steps, trained)
    if settings.timestep_spacing == "sine":
        noisiest = _noisiest(scheduler)
        if count > noisiest + 1:
            raise ValueError(f"{count} steps are too many for the {noisiest + 1} timesteps above lambda_min_clipped")
        return sine_grid(count, noisiest + 1), ""
    scheduler.set_timesteps(count)
    offset = f" (steps_offset = {settings.steps_offset})" if settings.steps_offset else ""
    # If T does not divide N, diffusers' `trailing` grid can have one entry too many, −1, by rounding (T = 29 of N = 100).
    return scheduler.timesteps.tolist()[:count], f"{count} steps are too many for {trained} timesteps so spaced{offset}: "


def _noisiest(scheduler: Any) -> int:
    """The training's last timestep, or the last one above `lambda_min_clipped`: there diffusers' `linspace` begins."""
    bound = scheduler.config.get("lambda_min_clipped", -math.inf)
    clipped = 0 if bound == -math.inf else int(torch.searchsorted(scheduler.lambda_t.flip(0), bound))
    return int(scheduler.config.num_train_timesteps) - 1 - clipped


def sine_grid(steps: int, trained: int) -> list[int]:
    """T of N timesteps at (N − 1) sin⁴(πu/2) with u evenly from 1 to 0; equal neighbours are moved apart.

    A fixed rule instead of grids that are fitted to each policy (`paradp.sampler.fitted_grids`). `paradp study grids`
    compares both with each other and with even spacing.
    """
    if steps == 1:
        return [trained - 1]
    u = torch.linspace(1, 0, steps, dtype=torch.float64)
    found = ((trained - 1) * torch.sin(math.pi / 2 * u) ** 4).round().long().tolist()
    for k in range(1, steps):
        found[k] = min(found[k], found[k - 1] - 1)
    return [max(t, steps - 1 - k) for k, t in enumerate(found)]


def _whole(number: Any, name: str) -> int:
    """Converts an integer of Python, numpy or torch."""
    value = _plain(number)
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise ValueError(f"{name} must be a whole number, not {value!r}")
    return int(value)


def _number(number: Any, name: str) -> float:
    """Converts a number of Python, numpy or torch; to an int if it is whole."""
    value = _plain(number)
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise ValueError(f"{name} must be a number, not {value!r}")
    found: float = whole(int(value) if isinstance(value, numbers.Integral) else float(value))
    return found


def _plain(number: Any) -> Any:
    return number.item() if isinstance(number, Tensor) and number.ndim == 0 else number

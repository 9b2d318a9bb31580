"""Finds the fastest way to compute a policy's own denoising steps without changing the distribution of its samples.

It compares sequential steps with speculative samplers, which compute several steps at once.
"""

import copy
import logging
from statistics import median
from typing import Any

import torch
from torch import Tensor

from paradp.policy.engines.autotune.autotuner import REJECTIONS
from paradp.policy.engines.autotune.candidates import speculative
from paradp.policy.engines.timing import timed
from paradp.sampler import Denoiser, SamplerChoice, Solver
from paradp.sampler.schedules.described import Scheduler

_LOG = logging.getLogger(__name__)
# Windows to choose from. For each, this many calls are timed after a warm-up call, or fewer where they take long.
WINDOWS = (2, 4, 8, 12, 20, 50)
CALLS, ENOUGH_SECONDS = 4, 0.2
# The search ends at the first window beyond the best one that is slower by this factor.
PAST_THE_BEST = 1.3


class Fastest:
    """Chooses among samplers that all draw from exactly the distribution of a scheduler's own steps.

    Network calls are timed at the batch size of each window. A window of p needs about T / p rounds for T steps, and some
    more for rejected steps. The number of rejections is known only after sampling: if a sampler then takes longer than
    the sequential steps would have taken, the sequential steps are used from then on.

    Args:
        scheduler: diffusers' scheduler.
        steps: number of denoising steps; `None` for all timesteps of the training.

    Raises:
        ValueError: the class of the scheduler is not supported.
    """

    def __init__(self, scheduler: Scheduler, steps: int | None):
        self._scheduler = scheduler
        self.sequential = str(own_sampler(scheduler, steps))
        self._solvers: dict[str, Solver] = {self.sequential: SamplerChoice.parse(self.sequential).build(scheduler)}
        # For each batch size: the chosen sampler, and the seconds that all sequential steps take.
        self._chosen: dict[int, tuple[str, float]] = {}

    def solver(self, denoiser: Denoiser, condition: Tensor, shape: tuple[int, ...]) -> Solver:
        """Returns the solver for conditions `[B, C]`; measures once for each B."""
        rows = len(condition)
        if rows not in self._chosen:
            self._chosen[rows] = self._measure(denoiser, condition, shape)
        return self._built(self._chosen[rows][0])

    def took(self, rows: int, seconds: float) -> None:
        """Records the time of a call; if it was longer than sequential steps take, those are used from now on."""
        name, alone = self._chosen[rows]
        if name != self.sequential and seconds > alone:
            _LOG.info("%s took %.3g s for %d rows; %s takes %.3g s", name, seconds, rows, self.sequential, alone)
            self._chosen[rows] = self.sequential, alone

    def _measure(self, denoiser: Denoiser, condition: Tensor, shape: tuple[int, ...]) -> tuple[str, float]:
        steps, rows = self._built(self.sequential).table.steps, len(condition)
        alone = steps * _seconds(denoiser, condition, shape, 1)
        found = {self.sequential: alone}
        names = speculative(self.sequential)
        for window in (window for window in WINDOWS if window in names):
            expected = (steps / window + REJECTIONS) * _seconds(denoiser, condition, shape, window)
            found[names[window]] = expected
            if expected > PAST_THE_BEST * min(found.values()):
                break
        best = min(found, key=found.__getitem__)
        _LOG.info("%d rows: %s should take %.3g s, %s %.3g s", rows, best, found[best], self.sequential, alone)
        return best, alone

    def _built(self, name: str) -> Solver:
        if name not in self._solvers:
            self._solvers[name] = SamplerChoice.parse(name).build(self._scheduler)
        return self._solvers[name]


def own_sampler(scheduler: Any, steps: int | None) -> SamplerChoice:
    """Returns the sampler that takes exactly the steps of a scheduler.

    Raises:
        ValueError: the class of the scheduler is not supported, or its steps do not end at its timesteps.
    """
    kinds = {"DDPMScheduler": "ddpm", "DDIMScheduler": "ddim"}
    if (name := type(scheduler).__name__) not in kinds:
        raise ValueError(f"auto supports {', '.join(kinds)}, not {name}: name a sampler, such as ddim-10")
    kind, trained = kinds[name], scheduler.config.num_train_timesteps
    if kind == "ddpm" and steps in (None, trained):
        return SamplerChoice.parse(kind)
    steps = steps or trained
    if kind == "ddim" and not _ends_at_timesteps(scheduler, steps):
        raise ValueError(
            f"auto cannot take exactly the steps of this {name}: with {steps} of {trained} steps and its spacing, they do"
            f" not end at its timesteps; name a sampler, such as ddim-{steps}"
        )
    # Before 2023 diffusers had no other spacing.
    spacing = f":spacing={getattr(scheduler.config, 'timestep_spacing', 'leading')}" if kind == "ddpm" else ""
    return SamplerChoice.parse(f"{kind}-{steps}{spacing}")


def _ends_at_timesteps(scheduler: Any, steps: int) -> bool:
    """Whether each step of diffusers' DDIM, which has a fixed length, ends at the next timestep of its grid."""
    own = copy.deepcopy(scheduler)
    own.set_timesteps(steps)
    length = own.config.num_train_timesteps // steps
    return bool((own.timesteps[:-1] - own.timesteps[1:] == length).all() and own.timesteps[-1] < length)


def _seconds(denoiser: Denoiser, condition: Tensor, shape: tuple[int, ...], window: int) -> float:
    """Times a call for `window` steps of each row."""
    rows = condition.repeat_interleave(window, 0)
    x = torch.zeros(len(rows), *shape, device=rows.device)
    t = torch.zeros(len(rows), dtype=torch.int64, device=rows.device)
    times: list[float] = []
    while len(times) < CALLS and sum(times) < ENOUGH_SECONDS:
        times.append(timed(lambda: denoiser(x, t, rows), rows.device))
    return median(times[1:] or times)

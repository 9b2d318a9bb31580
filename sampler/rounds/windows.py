"""Windows of all environments, and per-step storage along their trajectories."""

from dataclasses import dataclass

import torch
from torch import Tensor

from paradp.sampler.noise import NoisePath
from paradp.sampler.rounds.base import Rounds
from paradp.sampler.rounds.memory import copy, zeros
from paradp.sampler.solution import Denoiser, Status, outcome, predict
from paradp.sampler.table import Steps, StepTable


@dataclass(frozen=True, eq=False)  # tensors have no single truth value
class Window:
    """The steps of one round.

    Attributes:
        step: `[B, p]`, step indices; padding has the index of the last step.
        inside: `[B, p]`, false for padding; all false for a finished environment.
        width: `[B]`, the number of steps without padding.
        coefficients: the coefficients of these steps.
    """

    step: Tensor
    inside: Tensor
    width: Tensor
    coefficients: Steps


class PerStep:
    """Values `[…]` for each of n steps of B environments, with a spare row for padding.

    Attributes:
        all: `[B, n, …]`.
    """

    def __init__(self, batch: int, steps: int, *shape: int, like: Tensor):
        self._rows = zeros((batch * steps + 1, *shape), like)
        self._first = steps * torch.arange(batch, device=like.device)[:, None]
        self._spare = batch * steps
        self.all = self._rows[:-1].unflatten(0, (batch, steps))

    def __getitem__(self, step: Tensor) -> Tensor:
        """The values at steps `[B, p]`: `[B, p, …]`."""
        return self._rows[self._first + step]

    def put(self, window: Window, values: Tensor, after: int = 0) -> None:
        """Stores values `[B, p, …]` at a window's steps, or with an offset."""
        self._rows[torch.where(window.inside, self._first + window.step + after, self._spare)] = values


class WindowRounds(Rounds):
    """Rounds that evaluate a window of up to p steps for every environment, each at its own position.

    All state is on the device, so a round needs no input from the host.

    Attributes:
        base: `[B]`, each window's first step; T once the environment is finished.
        rounds, evaluations: `[B]`, as in `SolverStats`.
        noise: `[B, T, D]`, ξ.
        width: p.
        size: D.
    """

    def __init__(self, table: StepTable, width: int, denoiser: Denoiser, condition: Tensor, noise: NoisePath, whole: bool):
        super().__init__(table, denoiser, condition, noise, whole)
        batch, steps, device = len(noise.initial), table.steps, noise.initial.device
        self.size = noise.initial[0].numel()
        self.noise = PerStep(batch, steps, self.size, like=noise.initial)
        self.base, self.rounds, self.evaluations = (torch.zeros(batch, dtype=torch.int64, device=device) for _ in range(3))
        self.width = min(width, steps)
        self._ahead = torch.arange(steps, device=device)
        self.least = -(-steps // self.width)
        self.most = self.enough = steps

    @property
    def decided(self) -> Tensor:
        return self.base

    def take(self, condition: Tensor, noise: NoisePath, guess: Tensor | None) -> None:
        super().take(condition, noise, guess)
        copy(self.noise.all, noise.steps.flatten(2))

    def clear(self) -> None:
        for counter in (self.base, self.rounds, self.evaluations):
            counter.zero_()

    def window(self, first: Tensor, width: int | None = None, limit: Tensor | None = None) -> Window:
        """The next p (or `width`) steps from `first` `[B]` on, up to `limit` `[B]`."""
        step = first[:, None] + self._ahead[: width or self.width]
        inside = step < self.table.steps
        if limit is not None:
            inside &= step < limit[:, None]
        step = step.clamp_(max=self.table.steps - 1)
        return Window(step, inside, inside.sum(1), self.table.at(step))

    def evaluate(self, window: Window, x: Tensor) -> Tensor:
        """The predictions x̂0, not clipped, at states x `[B, p, D]` in one call, `[B, p, D]`; undefined for padding."""
        rows = x.reshape(-1, *self.shape[1:])
        t = self.table.timesteps[window.step].flatten()
        condition = self.condition.repeat_interleave(x.shape[1], 0)
        if self.whole or bool(window.inside.all()):
            prediction = predict(self.denoiser, rows, t, condition)
        else:
            keep = window.inside.flatten().nonzero().squeeze(1)
            prediction = torch.zeros_like(rows)
            prediction[keep] = predict(self.denoiser, rows[keep], t[keep], condition[keep])
        return window.coefficients.clean(x, prediction.reshape(x.shape))

    def move(self, window: Window, settled: Tensor) -> Tensor:
        """Ends a round: each window moves past its leading `settled` steps `[B, p]`, and past the next one.

        Returns:
            The number of steps that each window moved, `[B]`.
        """
        moved = torch.minimum((settled & window.inside).long().cumprod(1).sum(1) + 1, window.width)
        self.base += moved
        self.rounds += window.inside[:, 0]
        self.evaluations += window.width
        return moved

    def outcome(self, sample: Tensor, clean: Tensor) -> tuple[Tensor, Tensor]:
        """`SolverStats.status` and `SolverStats.broken` for the predictions `[B, T, D]` of all steps.

        Those at undecided steps do not count: their states may yet be discarded.
        """
        decided = self._ahead < self.base[:, None]
        status, broken = outcome(sample, torch.where(decided[..., None], clean, 0))
        unfinished = (self.base < self.table.steps) & (status == Status.CONVERGED)
        return torch.where(unfinished, int(Status.OUT_OF_BUDGET), status), broken


def after(width: Tensor, following: Tensor, otherwise: Tensor) -> Tensor:
    """The last state within `width` `[B]` of states `[B, p, D]`, or `otherwise` `[B, D]` for width 0."""
    last = (width - 1).clamp_(min=0)[:, None, None].expand(-1, 1, following.shape[2])
    return torch.where(width[:, None] > 0, following.gather(1, last).squeeze(1), otherwise)

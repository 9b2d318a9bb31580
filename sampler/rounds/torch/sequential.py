"""All steps of a sequential solve."""

from functools import cached_property

import torch
from torch import Tensor

from paradp.sampler.noise import NoisePath
from paradp.sampler.rounds.base import Rounds, Watch
from paradp.sampler.rounds.memory import copy
from paradp.sampler.solution import Denoiser, Solution, SolverStats, Status, outcome, predict
from paradp.sampler.solvers.sequential import Sequential
from paradp.sampler.table import Steps


class Pass(Rounds):
    """All steps of a sequential solve, as a single round."""

    def __init__(self, solver: Sequential, denoiser: Denoiser, condition: Tensor, noise: NoisePath, whole: bool):
        super().__init__(solver.table, denoiser, condition, noise, whole)
        self.noise = torch.empty_like(noise.steps.flatten(2))
        self.clean = torch.empty_like(self.noise)
        self.sample = torch.empty_like(self.noise[:, 0])
        self.timesteps = self.table.timesteps[:, None].expand(-1, len(condition)).unbind()
        self.done = self.table.steps
        self._all = torch.full((len(condition),), self.table.steps, device=self.initial.device)

    @property
    def decided(self) -> Tensor:
        return self._all

    @cached_property
    def steps(self) -> list[Steps]:
        """The coefficients of every step."""
        return [Steps(self.table, *row.unbind()) for row in self.table.columns.unbind()]

    def take(self, condition: Tensor, noise: NoisePath, guess: Tensor | None) -> None:
        super().take(condition, noise, guess)
        copy(self.noise, noise.steps.flatten(2))

    def clear(self) -> None:
        """Does nothing, because every step overwrites the buffers of the last solve."""

    def advance(self) -> None:
        x = self.initial.flatten(1)
        before = torch.zeros_like(x) if self.table.looks_back else None
        watch, self.done = Watch(self.deadline), self.table.steps
        for k, (step, t) in enumerate(zip(self.steps, self.timesteps, strict=True)):
            if watch.over(wait=self.arrived):
                x = self.complete(x, k)
                break
            prediction = predict(self.denoiser, x.reshape(self.shape), t, self.condition)
            clean = step.clean(x, prediction.flatten(1))
            x = step.a * x + step.push(clean, before, self.noise[:, k])
            self.clean[:, k] = clean
            if before is not None:
                before = clean
        self.sample.copy_(x)

    def complete(self, x: Tensor, done: int) -> Tensor:
        """The samples `[B, D]` from states x_done, with the last prediction held."""
        self.done, held = done, self.clean[:, done - 1]
        self.clean[:, done:] = held[:, None]
        before = held if self.table.looks_back else None
        for k in range(done, self.table.steps):
            x = self.steps[k].a * x + self.steps[k].push(held, before, self.noise[:, k])
        return x

    def result(self, done: bool) -> Solution:
        sample = self.sample.reshape(self.shape).clone()
        counts = torch.full((len(sample),), self.done, device=sample.device)
        residual = torch.zeros_like(counts, dtype=sample.dtype)
        status, broken = outcome(sample, self.clean)
        if self.done < self.table.steps:
            status = torch.where(status == Status.CONVERGED, int(Status.OUT_OF_BUDGET), status)
        return Solution(sample, SolverStats(counts, counts.clone(), residual, status, broken))

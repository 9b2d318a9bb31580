"""Speculative sampling on a GPU: each round is a kernel that drafts, the network's call, two kernels that verify."""

import torch
import triton
from torch import Tensor

from paradp.sampler.noise import NoisePath
from paradp.sampler.options import SECANTS
from paradp.sampler.rounds.torch.speculative import Speculation
from paradp.sampler.rounds.triton import speculative_kernels as kernels
from paradp.sampler.rounds.triton.rows import WholeRows
from paradp.sampler.solution import Denoiser, Solution, SolverStats, Status
from paradp.sampler.solvers.speculative import Speculative


class TritonSpeculation(Speculation):
    """Computes the same rounds as `Speculation`, on the same buffers, with Triton kernels."""

    def __init__(self, solver: Speculative, denoiser: Denoiser, condition: Tensor, noise: NoisePath, whole: bool):
        super().__init__(solver, denoiser, condition, noise, whole)
        self._rows = WholeRows(self)
        self._guess, self._following = torch.zeros_like(self._rows.x), torch.zeros_like(self._rows.x)
        self._holds = torch.zeros(self._rows.x.shape[:2], dtype=torch.int8, device=self.base.device)
        self._window = (self.table.steps, self.width, solver.ahead or self.table.steps)
        # For each step: 1 if the network's prediction there was not finite.
        self._unsound = torch.zeros(len(self.base), self.table.steps, dtype=torch.int8, device=self.base.device)
        self._slope = self.guesses.slope.contiguous()

    def clear(self) -> None:
        super().clear()
        self._unsound.zero_()

    def begin(self) -> None:
        super().begin()
        self._rows.begin()

    def advance(self) -> None:
        rows, guesses, table, frozen = self._rows, self.guesses, self.table, self.solver.draft == "frozen"
        memory = guesses.kept.all, guesses.evaluated, self.base
        rows.launch(
            kernels.draft,
            table.columns, table.timesteps, self._slope, rows.bound, *memory, self.exact, self.noise.all, rows.x, rows.t,
            self._guess, self._following, *self._window, FROZEN=frozen,
        )  # fmt: skip
        ends = None if self.solver.ahead is None else guesses.evaluated[:, 0] + self.solver.ahead
        prediction = rows.predict(ends)
        rows.launch(
            kernels.verify,
            table.columns, rows.bound, *memory, self.noise.all, self.log_u.all, self._unsound, rows.x, self._guess,
            self._following, prediction, self._holds, *self._window,
            programs=self.width, SECANT=self.solver.draft in SECANTS,
        )  # fmt: skip
        rows.launch(
            kernels.move,
            guesses.evaluated, self.base, self.rounds, self.evaluations, self.exact, self._following, self._holds,
            *self._window, WIDTH=triton.next_power_of_2(self.width),
        )  # fmt: skip

    def result(self, done: bool) -> Solution:
        rows, guesses, batch = self._rows, self.guesses, len(self.base)
        sample, counts = torch.empty_like(self.exact), self.base.new_empty(4, batch)
        rows.launch(
            kernels.conclude,
            self.table.columns, self._slope, rows.bound, guesses.kept.all, guesses.evaluated, self.base, self.rounds,
            self.evaluations, self.exact, self.noise.all, self._unsound, sample, counts, self.table.steps, batch,
            STEPS=triton.next_power_of_2(self.table.steps), FROZEN=self.solver.draft == "frozen",
            **{status.name: status.value for status in Status},
        )  # fmt: skip
        rounds, evaluations, status, broken = counts.unbind()
        stats = SolverStats(rounds, evaluations, torch.zeros_like(sample[:, 0]), status, broken)
        return Solution(sample.reshape(self.shape), stats)

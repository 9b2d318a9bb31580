"""The rounds of Picard iteration."""

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from paradp.sampler.noise import NoisePath
from paradp.sampler.rounds.torch.anderson import Anderson
from paradp.sampler.rounds.windows import PerStep, Window, WindowRounds, after
from paradp.sampler.solution import Denoiser, Solution, SolverStats
from paradp.sampler.solvers.picard import Picard
from paradp.sampler.table import roll


@torch.no_grad()
def iterates_of(solver: Picard, denoiser: Denoiser, condition: Tensor, noise: NoisePath) -> Iterator[Tensor]:
    """Yields the states `[B, T+1, …]` after every round of a solve, to study its convergence."""
    iteration = Iteration(solver, denoiser, condition, noise, whole=False)
    iteration.load(condition, noise, None)
    for _ in range(iteration.most):
        if iteration.arrived():
            return
        iteration.advance()
        yield iteration.guessed_states()


class Iteration(WindowRounds):
    """Picard rounds: the states of all environments computed so far, and the last predictions at them."""

    def __init__(self, solver: Picard, denoiser: Denoiser, condition: Tensor, noise: NoisePath, whole: bool):
        super().__init__(solver.table, solver.window, denoiser, condition, noise, whole)
        batch, like = len(noise.initial), noise.initial
        self.solver = solver
        self.most = min(solver.max_rounds or self.most, self.most)
        self.states = PerStep(batch, self.table.steps + 1, self.size, like=like)
        self.clean = PerStep(batch, self.table.steps, self.size, like=like)
        # States beyond the furthest one computed so far are guessed to equal it.
        self.furthest = torch.zeros_like(self.base)
        self.residual = like.new_zeros(batch)
        self.rolls = (solver.extension or ("roll" if solver.split == "linear" else "copy")) == "roll"
        self._anderson = Anderson(solver.anderson, batch, self.table.steps, self.size, like) if solver.anderson else None

    def begin(self) -> None:
        self.states.all[:, 0] = self.initial.flatten(1)
        if self.rolls:
            # Nothing is predicted yet: the first window is rolled forward by the noise alone.
            self._roll_into_window()

    def clear(self) -> None:
        super().clear()
        for buffer in (self.states.all, self.clean.all, self.furthest, self.residual):
            buffer.zero_()
        if self._anderson is not None:
            self._anderson.clear()

    def advance(self) -> None:
        """One round: one network call for the windows of all environments."""
        window = self.window(self.base)
        x, old = self._read(window.step), self._read(window.step + 1)
        clean = self.evaluate(window, x)
        self.clean.put(window, clean)
        new = self._iterate(window, x, clean)

        change = (new - old).square().mean(2).sqrt() / self.table.scale[window.step + 1]
        settled = change <= self.solver.tolerance
        accepted = (settled & window.inside).long().cumprod(1)
        self.furthest.copy_(torch.where(window.width > 0, self.base + window.width, self.furthest))
        moved = self.move(window, settled)
        torch.maximum(self.residual, torch.where(accepted == 1, change, 0).amax(1), out=self.residual)
        if self._anderson is not None:
            new = self._anderson.step(window, old, new, moved)
        self.states.put(window, new, after=1)
        if self.rolls:
            self._roll_into_window()

    def result(self, done: bool) -> Solution:
        """The samples; unfinished ones are completed with the last prediction at a converged state.

        Later predictions are at states that had not converged. With the unit split these overshoot, most of all just before
        they converge, so a sample completed with them could become worse with a larger budget.
        """
        sample = (self.states.all[:, -1].clone() if done else self._complete()).reshape(self.shape)
        status, broken = self.outcome(sample, self.clean.all)
        stats = SolverStats(self.rounds.clone(), self.evaluations.clone(), self.residual.clone(), status, broken)
        return Solution(sample, stats)

    def guessed_states(self) -> Tensor:
        """All states; those beyond the furthest computed state are copies of it."""
        step = torch.arange(self.table.steps + 1, device=self.base.device).expand(len(self.base), -1)
        return self._read(step).unflatten(2, self.shape[1:])

    def _read(self, step: Tensor) -> Tensor:
        return self.states[torch.minimum(step, self.furthest[:, None])]

    def _iterate(self, window: Window, x: Tensor, clean: Tensor) -> Tensor:
        """x_{b+1} … x_{b+p} from the predictions at x_b … x_{b+p−1}."""
        before = self.clean[(window.step - 1).clamp_(min=0)] if self.table.looks_back else None
        pushed = window.coefficients.push(clean, before, self.noise[window.step])
        if self.solver.split == "linear":
            return roll(x[:, 0], window.coefficients.a, pushed)
        drift = pushed + (window.coefficients.a - 1) * x
        return x[:, :1] + torch.where(window.inside[..., None], drift, 0).cumsum(1)

    def _roll_into_window(self) -> None:
        """Extends the states to the end of the next window, with the known noise and the last prediction."""
        window = self.window(self.furthest)
        wanted = window.inside & (window.step < self.base[:, None] + self.solver.window)
        states = self._rolled(window, self.furthest)
        self.states.put(replace(window, inside=wanted), states, after=1)
        self.furthest += wanted.sum(1)

    def _rolled(self, window: Window, first: Tensor) -> Tensor:
        """The states after a window's steps, with the last prediction before `first` `[B]` held, `[B, p, D]`."""
        held = self.clean[(first[:, None] - 1).clamp_(min=0)]
        pushed = window.coefficients.push(held, held if self.table.looks_back else None, self.noise[window.step])
        return roll(self.states[first[:, None]].squeeze(1), window.coefficients.a, pushed)

    def _complete(self) -> Tensor:
        """The samples `[B, D]`; unfinished ones are rolled forward from their window's first state."""
        rest = self.window(self.base, self.table.steps)
        return after(rest.width, self._rolled(rest, self.base), self.states.all[:, -1])

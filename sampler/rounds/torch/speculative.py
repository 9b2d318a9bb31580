"""The rounds of speculative sampling: draft, evaluate, verify."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from paradp.sampler.noise import NoisePath
from paradp.sampler.rounds.memory import copy
from paradp.sampler.rounds.torch.drafts import Drafts, Guesses, Recalled
from paradp.sampler.rounds.windows import PerStep, Window, WindowRounds, after
from paradp.sampler.solution import Denoiser, Solution, SolverStats
from paradp.sampler.solvers.speculative import Speculative


@torch.no_grad()
def rounds_of(
    solver: Speculative, denoiser: Denoiser, condition: Tensor, noise: NoisePath, guess: Tensor | None = None
) -> "Iterator[Round]":
    """Yields the rounds of a solve; arguments as in `Speculative.solve`."""
    speculation = Speculation(solver, denoiser, condition, noise, whole=False)
    speculation.load(condition, noise, guess)
    while not speculation.arrived():
        yield speculation.round()


def couple(z: Tensor, delta: Tensor, log_u: Tensor) -> tuple[Tensor, Tensor]:
    """Reflection-maximal coupling of N(m̂, σ²) and N(m, σ²) with (m̂ − m)/σ = Δ (arXiv 2501.05370).

    Args:
        z, delta: `[…, D]`, the draft's noise and Δ.
        log_u: `[…]`, logarithms of uniforms.

    Returns:
        Whether the draft is kept, `[…]`, with P(kept) = 2Φ(−‖Δ‖/2); and the noise relative to m if it is not, `[…, D]`.
    """
    squared = delta.square().sum(-1)
    along = (z * delta).sum(-1)
    kept = log_u <= -along - 0.5 * squared
    reflected = z - 2 * (along / squared.clamp(min=torch.finfo(z.dtype).tiny))[..., None] * delta
    return kept, reflected


@dataclass(frozen=True, eq=False)  # tensors have no single truth value
class Round:
    """The inputs and results of one round, for training drafts and for tests.

    Attributes:
        window, recalled, drafts: the steps, the earlier predictions there, and the drafts.
        clean: `[B, p, D]`, the new predictions, not clipped.
        moved: `[B]`, number of decided steps of each window.
    """

    window: Window
    recalled: Recalled
    drafts: Drafts
    clean: Tensor
    moved: Tensor

    @property
    def decided(self) -> Tensor:
        """`[B, p]`, whether each step was decided, so that its drafted state is exact."""
        return torch.arange(self.window.step.shape[1], device=self.moved.device) < self.moved[:, None]


class Speculation(WindowRounds):
    """Speculative rounds: the exact state at the first step of each window, and guesses for the steps after it."""

    def __init__(self, solver: Speculative, denoiser: Denoiser, condition: Tensor, noise: NoisePath, whole: bool):
        super().__init__(solver.table, solver.window, denoiser, condition, noise, whole)
        self.solver = solver
        self.most = min(solver.max_rounds or self.most, self.most)
        self.uniforms = torch.empty_like(noise.uniforms)
        self.log_u = PerStep(len(noise.initial), self.table.steps, like=noise.initial)
        self.exact = torch.empty_like(noise.initial.flatten(1))
        self.guesses = Guesses(self.table, solver.data_variance, solver.draft, self.exact, solver.model)
        self.first = torch.zeros_like(self.exact)

    def take(self, condition: Tensor, noise: NoisePath, guess: Tensor | None) -> None:
        super().take(condition, noise, guess)
        copy(self.uniforms, noise.uniforms)
        if guess is not None and self.solver.start == "previous":
            copy(self.first, guess.flatten(1))
        else:
            self.first.zero_()

    def begin(self) -> None:
        torch.log(self.uniforms, out=self.log_u.all)
        self.exact.copy_(self.initial.flatten(1))
        self.guesses.start(self.first)

    def clear(self) -> None:
        super().clear()
        self.guesses.clear()

    def advance(self) -> None:
        self.round()

    def round(self) -> Round:
        """One round: draft, evaluate, verify."""
        ahead = self.solver.ahead
        window = self.window(self.base, limit=None if ahead is None else self.guesses.evaluated[:, 0] + ahead)
        z, log_u = self.noise[window.step], self.log_u[window.step]
        recalled = self.guesses.recall(window, self.base)
        drafts = self.guesses.draft(window, recalled, self.exact, self.guesses.before(self.base), z)
        clean = self.evaluate(window, drafts.x)
        self.guesses.keep(window, recalled, drafts.x, clean)
        following, kept = self._verify(window, drafts, clean, z, log_u)
        moved = self.move(window, kept)
        self.exact.copy_(after(moved, following, self.exact))
        return Round(window, recalled, drafts, clean, moved)

    def result(self, done: bool) -> Solution:
        sample = (self.exact.clone() if done else self._complete()).reshape(self.shape)
        residual = torch.zeros_like(self.rounds, dtype=sample.dtype)
        status, broken = self.outcome(sample, self.guesses.predictions)
        return Solution(sample, SolverStats(self.rounds.clone(), self.evaluations.clone(), residual, status, broken))

    def _complete(self) -> Tensor:
        """The samples `[B, D]`; unfinished ones are drafted from their window's exact state."""
        rest = self.window(self.base, self.table.steps)
        recalled = self.guesses.recall(rest, self.base)
        drafts = self.guesses.draft(rest, recalled, self.exact, self.guesses.before(self.base), self.noise[rest.step])
        return after(rest.width, drafts.following, self.exact)

    def _verify(self, window: Window, drafts: Drafts, clean: Tensor, z: Tensor, log_u: Tensor) -> tuple[Tensor, Tensor]:
        """x_{j+1} given that x̃_j is exact, `[B, p, D]`, and whether it is the draft, `[B, p]`.

        The state before an exact one is exact, too: so is the prediction there, which tables that look back use.
        """
        step = window.coefficients
        noisy = step.sigma > 0
        guess_before, before = drafts.one_earlier(drafts.guess), drafts.one_earlier(clean)
        delta = step.difference(drafts.guess, clean, guess_before, before) / torch.where(noisy, step.sigma, 1)
        kept, reflected = couple(z, delta, log_u)
        kept = kept & noisy.squeeze(2)
        exact = step.mean(drafts.x, clean, before) + step.sigma * reflected
        return torch.where(kept[..., None], drafts.following, exact), kept

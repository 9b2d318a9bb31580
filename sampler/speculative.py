"""Exact parallel sampling: drafts are accepted or reflected, so that the distribution is that of the sequential sampler."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import get_args

import torch
from torch import Tensor

from paradp.sampler.draft_model import DraftModel
from paradp.sampler.drafts import Drafts, Guesses, Recalled
from paradp.sampler.noise import NoisePath
from paradp.sampler.options import Draft, Start
from paradp.sampler.rounds import fuses, run
from paradp.sampler.solution import Denoiser, Solution, SolverStats, Status, check_inputs, outcome
from paradp.sampler.table import StepTable
from paradp.sampler.windows import PerStep, Window, WindowRounds, after


@dataclass(frozen=True)
class Speculative:
    """Samples with exactly the distribution of `Sequential` on the same table, several steps a round, without any tolerance.

    From the last exact state x_b a round drafts a window with guesses G_j of the predictions and the path's own noise,

        x̃_{j+1} = m̂_j + σ_j z_j,    m̂_j = a_j x̃_j + c_j clip(G_j) + r_j G_j + d_j clip(G_{j−1}),

    evaluates the network at all drafts in one call, and verifies them in order. m_j is m̂_j with the predictions x̂0_j and
    x̂0_{j−1} in place of the guesses. With Δ_j = (m̂_j − m_j)/σ_j the reflection-maximal coupling of N(m̂_j, σ_j²) and
    N(m_j, σ_j²) keeps x̃_{j+1} if log u_j ≤ −z_j·Δ_j − ½‖Δ_j‖², and otherwise reflects the noise along e = Δ_j/‖Δ_j‖,
    x_{j+1} = m_j + σ_j (z_j − 2 (e·z_j) e), and goes on from there.

    Frozen drafts (autospeculation, arXiv 2505.03983, with the coupling of arXiv 2501.05370) hold the last exact prediction
    for the whole window. Picard drafts hold, for every step, the last prediction that any round made there, also beyond a
    rejection: between rejections they converge as Picard iteration with the linear split does. A scalar gain J_j corrects
    them for the distance of the draft from the state they were made at; secant drafts replace it, along the line between the
    last two states that a step was evaluated at, by the slope that was seen there (Broyden's update). Trained drafts do so
    beside a learned matrix in place of the gain, see `DraftModel`. A first guess at the sample, such as the last plan, can
    stand in before anything is predicted. docs/exactness.md proves that the distribution
    is exact all the same: a guess G_j is a function of noise before step j only.

    Attributes:
        table: the steps, with noise at all of them but the last.
        window: p, how many steps are drafted at once.
        draft: `secant`, `picard`, `frozen` or `trained`.
        gain: v, the variance of the Gaussian whose posterior mean has the gain J_j = √ᾱ v/(ᾱ v + 1 − ᾱ); 0 for none.
        start: `previous` takes the first guess that `solve` is given, `cold` does without.
        max_rounds: a budget, the same for every sample: what is not done by then is completed with a draft and marked
            `Status.OUT_OF_BUDGET`. How far that is from exact: docs/exactness.md, "With a deadline".
        model: what trained drafts have learned; other drafts take none.
        ahead: how many steps a round may go beyond those that earlier rounds evaluated; a whole window unless given. Drafts
            far beyond are seldom kept, and a prediction made at one is a worse guess for later rounds than a held one.
    """

    table: StepTable
    window: int = 20
    draft: Draft = "secant"
    gain: float = 0.01
    start: Start = "previous"
    max_rounds: int | None = None
    ahead: int | None = None
    model: DraftModel | None = None

    def __post_init__(self) -> None:
        if self.window < 1:
            raise ValueError(f"window must be at least 1, not {self.window}")
        if self.max_rounds is not None and self.max_rounds < 1:
            raise ValueError(f"max_rounds must be at least 1, not {self.max_rounds}")
        if not 0 <= self.gain < math.inf:
            raise ValueError(f"gain must be a finite number and at least 0, not {self.gain}")
        if self.ahead is not None and self.ahead < 1:
            raise ValueError(f"ahead must be at least 1, not {self.ahead}")
        for name, choices in (("draft", get_args(Draft)), ("start", get_args(Start))):
            if getattr(self, name) not in choices:
                raise ValueError(f"{name} must be one of {', '.join(choices)}, not {getattr(self, name)!r}")
        if (self.model is None) == (self.draft == "trained"):
            raise ValueError("draft=trained needs the trained draft of a checkpoint: paradp draft train makes one")
        silent = (self.table.sigma[:-1] <= 0).nonzero().flatten().tolist()
        if silent:
            raise ValueError(
                f"speculative sampling needs noise at every step but the last, and step {silent[0]} has none: DDPM and"
                " SDE-DPM-Solver++ have it, and DDIM with eta above 0"
            )

    @torch.no_grad()
    def solve(
        self,
        denoiser: Denoiser,
        condition: Tensor,
        noise: NoisePath,
        guess: Tensor | None = None,
        deadline: float = math.inf,
    ) -> Solution:
        """Samples `[B, …]` for conditions `[B, C]` on a noise path.

        A guess `[B, …]` that was made before the noise was drawn, and independently of it, changes the cost and not the
        distribution. What the deadline or `max_rounds` cuts short ends with a draft of all its remaining steps. Then the
        samples no longer have the table's distribution, and neither do those that were done in time, taken by themselves:
        see `Solver.solve`.
        """
        check_inputs(self.table, condition, noise)
        if guess is not None and guess.shape != noise.initial.shape:
            raise ValueError(f"the guess has shape {tuple(guess.shape)}, the samples {tuple(noise.initial.shape)}")

        def make(whole: bool) -> Speculation:
            if whole or not fuses(noise):
                return Speculation(self, denoiser, condition, noise, whole)
            from paradp.sampler.cpu_rounds import FusedSpeculation

            return FusedSpeculation(self, denoiser, condition, noise, whole)

        return run(self, make, denoiser, condition, noise, guess, deadline)


@torch.no_grad()
def rounds_of(
    solver: Speculative, denoiser: Denoiser, condition: Tensor, noise: NoisePath, guess: Tensor | None = None
) -> Iterator["Round"]:
    """A solve, one round after the other; arguments as of `Speculative.solve`."""
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
        Whether the draft is kept, `[…]`, and the noise from m where it is not, `[…, D]`. P(kept) = 2Φ(−‖Δ‖/2).
    """
    squared = delta.square().sum(-1)
    along = (z * delta).sum(-1)
    kept = log_u <= -along - 0.5 * squared
    reflected = z - 2 * (along / squared.clamp(min=torch.finfo(z.dtype).tiny))[..., None] * delta
    return kept, reflected


@dataclass(frozen=True)
class Round:
    """What one round did, for those who learn from it.

    Attributes:
        window, recalled, drafts: which steps, what was known there, and what was drafted.
        clean: `[B, p, D]`, the predictions there, not clipped.
        moved: `[B]`, how many steps of each window were decided.
    """

    window: Window
    recalled: Recalled
    drafts: Drafts
    clean: Tensor
    moved: Tensor

    @property
    def decided(self) -> Tensor:
        """`[B, p]`, which steps were decided: their drafted states are exact."""
        return torch.arange(self.window.step.shape[1], device=self.moved.device) < self.moved[:, None]


class Speculation(WindowRounds):
    """The exact state of every environment at its window's first step, and the guesses at what lies beyond it."""

    def __init__(self, solver: Speculative, denoiser: Denoiser, condition: Tensor, noise: NoisePath, whole: bool):
        super().__init__(solver.table, solver.window, denoiser, condition, noise, whole)
        self.solver = solver
        self.most = min(solver.max_rounds or self.most, self.most)
        self.log_u = PerStep(len(noise.initial), self.table.steps, like=noise.initial)
        self.exact = torch.empty_like(noise.initial.flatten(1))
        self.guesses = Guesses(self.table, solver.gain, solver.draft, self.exact, solver.model)

    def load(self, condition: Tensor, noise: NoisePath, guess: Tensor | None) -> None:
        super().load(condition, noise, guess)
        self.log_u.all.copy_(noise.uniforms.log())
        self.exact.copy_(noise.initial.flatten(1))
        if guess is not None and self.solver.start == "previous":
            self.guesses.start(guess.flatten(1))

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

    def solution(self) -> Solution:
        sample = self._complete().reshape(self.shape)
        residual = torch.zeros_like(self.rounds, dtype=sample.dtype)
        status, broken = outcome(sample, self.guesses.predictions)
        out = (self.base < self.table.steps) & (status == Status.CONVERGED)
        status = torch.where(out, int(Status.OUT_OF_BUDGET), status)
        return Solution(sample, SolverStats(self.rounds.clone(), self.evaluations.clone(), residual, status, broken))

    def _complete(self) -> Tensor:
        """The samples `[B, D]`, drafted from each window's exact state where it has not arrived."""
        if self.arrived():
            return self.exact.clone()
        rest = self.window(self.base, self.table.steps)
        recalled = self.guesses.recall(rest, self.base)
        drafts = self.guesses.draft(rest, recalled, self.exact, self.guesses.before(self.base), self.noise[rest.step])
        return after(rest.width, drafts.following, self.exact)

    def _verify(self, window: Window, drafts: Drafts, clean: Tensor, z: Tensor, log_u: Tensor) -> tuple[Tensor, Tensor]:
        """x_{j+1} given that x̃_j is exact, `[B, p, D]`, and whether it is the draft, `[B, p]`.

        The state before an exact one is exact, too: so is the prediction there, which tables that look back use.
        """
        step = window.table
        noisy = step.sigma > 0
        guess_before, before = drafts.one_earlier(drafts.guess), drafts.one_earlier(clean)
        delta = step.difference(drafts.guess, clean, guess_before, before) / torch.where(noisy, step.sigma, 1)
        kept, reflected = couple(z, delta, log_u)
        kept = kept & noisy.squeeze(2)
        exact = step.mean(drafts.x, clean, before) + step.sigma * reflected
        return torch.where(kept[..., None], drafts.following, exact), kept

"""Exact parallel sampling: drafts that are accepted or reflected, so that the law is that of the sequential sampler."""

import math
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from paradp.sampler.drafts import Draft, Guesses
from paradp.sampler.noise import NoisePath
from paradp.sampler.solution import Denoiser, Solution, SolverStats, check_inputs, outcome
from paradp.sampler.table import StepTable, rows
from paradp.sampler.trajectory import Trajectory, Window

Start = Literal["previous", "cold"]


@dataclass(frozen=True)
class Speculative:
    """Samples with exactly the law of `Sequential`, several steps a round, without any tolerance.

    From the last exact state x_b a round drafts a window with guesses G_j of the predictions and the path's own noise,

        x̃_{j+1} = m̂_j + σ_j z_j,    m̂_j = a_j x̃_j + c_j clip(G_j),

    evaluates the network at all drafts in one call, and verifies them in order. With Δ_j = c_j (clip(G_j) − clip(x̂0_j))/σ_j
    the reflection-maximal coupling of N(m̂_j, σ_j²) and N(m_j, σ_j²) keeps x̃_{j+1} if log u_j ≤ −z_j·Δ_j − ½‖Δ_j‖², and
    otherwise reflects the noise along e = Δ_j/‖Δ_j‖, x_{j+1} = m_j + σ_j (z_j − 2 (e·z_j) e), and goes on from there.

    Frozen drafts (autospeculation, arXiv 2505.03983, with the coupling of arXiv 2501.05370) hold the last exact prediction
    for the whole window. Picard drafts hold, for every step, the last prediction that any round made there, also beyond a
    rejection: between rejections they converge as Picard iteration with the linear split does. A scalar gain J_j corrects
    them for the distance of the draft from the state they were made at; secant drafts replace it, along the line between the
    last two states that a step was evaluated at, by the slope that was seen there (Broyden's update). A first guess at the
    sample, such as the last plan, can stand in before anything is predicted. docs/exactness.md proves that the law is exact
    all the same: a guess G_j is a function of noise before step j only.

    Attributes:
        table: the steps, of first order, with noise at all of them but the last.
        window: p, how many steps are drafted at once.
        draft: `secant`, `picard` or `frozen`.
        gain: v, the variance of the Gaussian whose posterior mean has the gain J_j = √ᾱ v/(ᾱ v + 1 − ᾱ); 0 for none.
        start: `previous` takes the first guess that `solve` is given, `cold` does without.
    """

    table: StepTable
    window: int = 20
    draft: Draft = "secant"
    gain: float = 0.01
    start: Start = "previous"

    def __post_init__(self) -> None:
        if self.window < 1:
            raise ValueError(f"window must be at least 1, not {self.window}")
        if not 0 <= self.gain < math.inf:
            raise ValueError(f"gain must be a finite number and at least 0, not {self.gain}")
        for name, choices in (("draft", get_args(Draft)), ("start", get_args(Start))):
            if getattr(self, name) not in choices:
                raise ValueError(f"{name} must be one of {', '.join(choices)}, not {getattr(self, name)!r}")
        if self.table.looks_back or self.table.keeps_unclipped:
            raise ValueError("speculative sampling needs steps that use the clipped prediction of their own step alone")
        silent = (self.table.sigma[:-1] <= 0).nonzero().flatten().tolist()
        if silent:
            raise ValueError(f"speculative sampling needs noise at every step but the last; step {silent[0]} has none")

    @torch.no_grad()
    def solve(self, denoiser: Denoiser, condition: Tensor, noise: NoisePath, guess: Tensor | None = None) -> Solution:
        """Samples `[B, …]` for conditions `[B, C]` on a noise path.

        A guess `[B, …]` that was made before the noise was drawn, and independently of it, changes the cost and not the law.
        """
        check_inputs(self.table, condition, noise)
        if guess is not None and guess.shape != noise.initial.shape:
            raise ValueError(f"the guess has shape {tuple(guess.shape)}, the samples {tuple(noise.initial.shape)}")
        drafts = _Drafts(self, noise, guess if self.start == "previous" else None)
        while len(active := drafts.unfinished()):
            drafts.advance(active, denoiser, condition)
        sample = drafts.trajectory.states[:, -1]
        residual = torch.zeros_like(drafts.rounds, dtype=sample.dtype)
        ended = outcome(sample, drafts.trajectory.clean)
        return Solution(sample, SolverStats(drafts.rounds, drafts.evaluations, residual, *ended))


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


class _Drafts:
    """The exact states of all environments, and the drafts of what lies beyond them."""

    def __init__(self, solver: Speculative, noise: NoisePath, guess: Tensor | None):
        batch, device = len(noise.initial), noise.initial.device
        self.solver = solver
        self.table = solver.table.to(device, noise.initial.dtype)
        self.noise = noise
        self.log_u = noise.uniforms.log()
        self.trajectory = Trajectory(self.table, noise, guess)
        bar, v = self.table.alpha_bar, solver.gain
        self.guesses = Guesses(self.trajectory, bar.sqrt() * v / (bar * v + 1 - bar), solver.draft)
        self.base = torch.zeros(batch, dtype=torch.int64, device=device)
        self.rounds = torch.zeros_like(self.base)
        self.evaluations = torch.zeros_like(self.base)

    def unfinished(self) -> Tensor:
        """The environments whose exact states have not reached x_T."""
        return (self.base < self.table.steps).nonzero().squeeze(1)

    def advance(self, active: Tensor, denoiser: Denoiser, condition: Tensor) -> None:
        """One round: draft, evaluate, verify."""
        window = Window.of(active, self.base[active], self.solver.window, self.table.steps)
        first = self.trajectory.states[active, self.base[active]]
        x, drafted = self.guesses.draft(window, first, self.base, self.noise.steps[window.env, window.step])
        true = self.table.bound(self.guesses.evaluate(window, x, denoiser, condition))

        following, kept = self._verify(window, x, drafted, true)
        exact = (kept & window.inside).long().cumprod(1).sum(1)
        moved = torch.minimum(exact + 1, window.width)
        take = torch.arange(x.shape[1], device=x.device) < moved[:, None]
        self.trajectory.states[window.env.expand_as(take)[take], window.step[take] + 1] = following[take]
        self.base[active] += moved
        self.rounds[active] += 1
        self.evaluations[active] += window.width

    def _verify(self, window: Window, x: Tensor, drafted: Tensor, true: Tensor) -> tuple[Tensor, Tensor]:
        """x_{j+1} given that x̃_j is exact, `[E, p, …]`, and whether it is the draft, `[E, p]`."""
        table, step, z = self.table, window.step, self.noise.steps[window.env, window.step]
        a, c, sigma = (rows(column[step], x) for column in (table.a, table.c, table.sigma))
        noisy = table.sigma[step] > 0
        delta = c * (drafted - true) / torch.where(rows(noisy, x), sigma, 1)
        kept, reflected = couple(z.flatten(2), delta.flatten(2), self.log_u[window.env, step])
        kept = kept & noisy
        draft, exact = a * x + c * drafted + sigma * z, a * x + c * true + sigma * reflected.reshape(x.shape)
        return torch.where(rows(kept, x), draft, exact), kept

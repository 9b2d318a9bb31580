"""Exact parallel sampling: drafts are accepted or reflected, so that the distribution equals the sequential sampler's."""

import math
from dataclasses import dataclass
from typing import get_args

from paradp.sampler.draft_model import DraftModel
from paradp.sampler.lookup import renamed_arguments
from paradp.sampler.options import Draft, Start
from paradp.sampler.solvers.in_rounds import InRounds
from paradp.sampler.table import StepTable


@renamed_arguments(gain="data_variance")
@dataclass(frozen=True)
class Speculative(InRounds):
    """Samples from exactly the distribution of `Sequential` on the same table, with several steps per round.

    From the last exact state x_b a round drafts a window with guesses G_j of the predictions and the path's own noise,

        x̃_{j+1} = m̂_j + σ_j z_j,    m̂_j = a_j x̃_j + c_j clip(G_j) + r_j G_j + d_j clip(G_{j−1}),

    evaluates the network at all drafts in one call, and verifies them in order. m_j is m̂_j with the predictions x̂0_j and
    x̂0_{j−1} in place of the guesses. With Δ_j = (m̂_j − m_j)/σ_j the reflection-maximal coupling of N(m̂_j, σ_j²) and
    N(m_j, σ_j²) keeps x̃_{j+1} if log u_j ≤ −z_j·Δ_j − ½‖Δ_j‖², and otherwise reflects the noise along e = Δ_j/‖Δ_j‖,
    x_{j+1} = m_j + σ_j (z_j − 2 (e·z_j) e), and continues from there.

    Frozen drafts (autospeculation, arXiv 2505.03983, with the coupling of arXiv 2501.05370) hold the last exact prediction
    for the whole window. Picard drafts hold the last prediction at each step, also beyond a rejection: between
    rejections they converge like Picard iteration with the linear split. A scalar slope J_j corrects a held prediction for
    the distance of the draft from the state of that prediction. Secant drafts use a measured slope instead, along the line
    between the last two states at which the step was evaluated (Broyden's update). Trained drafts use a learned matrix
    instead of J_j, see `DraftModel`. Before the first prediction, a first guess at the sample, such as the last plan, can
    take its place. docs/exactness.md proves that the distribution is exact: a guess G_j depends only on noise before step j.

    A first guess that is independent of the noise changes the cost, but not the distribution. If the deadline or
    `max_rounds` is reached, the remaining steps are completed with a draft. The samples then no longer have exactly the
    table's distribution, and neither have the finished ones alone: see `Solver.solve`.

    Attributes:
        table: the steps; all but the last must add noise.
        window: p, the number of steps drafted at once.
        draft: `secant`, `picard`, `frozen` or `trained`.
        data_variance: v. The correction J_j is exact for Gaussian data with this variance: the posterior mean of x_0 then
            changes with the state by J_j = √ᾱ v/(ᾱ v + 1 − ᾱ). 0 switches the correction off.
        start: `previous` uses the first guess given to `solve`, `cold` ignores it.
        max_rounds: limit on the rounds of every sample. Unfinished samples are completed with a draft and marked
            `Status.OUT_OF_BUDGET`. For the error see docs/exactness.md, "With a deadline".
        model: the model of trained drafts; `None` for other drafts.
        ahead: how many steps a round may draft beyond the steps evaluated so far; the whole window by default. Drafts far
            beyond are seldom accepted, and predictions at them are worse guesses for later rounds than held ones.
    """

    table: StepTable
    window: int = 20
    draft: Draft = "secant"
    data_variance: float = 0.003
    start: Start = "previous"
    max_rounds: int | None = None
    ahead: int | None = None
    model: DraftModel | None = None

    def __post_init__(self) -> None:
        if self.window < 1:
            raise ValueError(f"window must be at least 1, not {self.window}")
        if self.max_rounds is not None and self.max_rounds < 1:
            raise ValueError(f"max_rounds must be at least 1, not {self.max_rounds}")
        if not 0 <= self.data_variance < math.inf:
            raise ValueError(f"data_variance must be a finite number and at least 0, not {self.data_variance}")
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
                f"speculative sampling needs noise at every step but the last, and step {silent[0]} has none: DDPM has"
                " it, and SDE-DPM-Solver++ and DDIM with eta above 0"
            )

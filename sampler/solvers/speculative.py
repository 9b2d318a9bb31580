"""Exact parallel sampling: drafts are accepted or reflected, so that the distribution is that of the sequential sampler."""

import math
from dataclasses import dataclass
from typing import get_args

from paradp.sampler.draft_model import DraftModel
from paradp.sampler.options import Draft, Start
from paradp.sampler.solvers.in_rounds import InRounds
from paradp.sampler.table import StepTable


@dataclass(frozen=True)
class Speculative(InRounds):
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

    A first guess that was made before the noise was drawn, and independently of it, changes the cost and not the
    distribution. What the deadline or `max_rounds` cuts short ends with a draft of all its remaining steps. Then the samples
    no longer have the table's distribution, and neither do those that were done in time, taken by themselves: see
    `Solver.solve`.

    Attributes:
        table: the steps, with noise at all of them but the last.
        window: p, how many steps are drafted at once.
        draft: `secant`, `picard`, `frozen` or `trained`.
        data_variance: v. The correction J_j is exact for Gaussian data with this variance: the posterior mean of x_0 then
            changes with the state by J_j = √ᾱ v/(ᾱ v + 1 − ᾱ). 0 switches the correction off.
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

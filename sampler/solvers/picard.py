"""Picard iteration over a sliding window of steps, with one window per environment: ParaDiGMS, with extensions."""

import math
from dataclasses import dataclass
from typing import get_args

from paradp.sampler.options import Extension, Split
from paradp.sampler.solvers.in_rounds import InRounds
from paradp.sampler.table import StepTable


@dataclass(frozen=True)
class Picard(InRounds):
    """Computes the trajectory of a table in parallel (Shih et al., "Parallel Sampling of Diffusion Models", Algorithm 1).

    A round evaluates the network at all states x_b … x_{b+p−1} of a window in one call and replaces the states after them.
    With the paper's `unit` split, and y_k all of x_{k+1} but a_k x_k (`Steps.push`),

        x_{j+1} ← x_b + Σ_{k=b..j} [ (a_k − 1) x_k + y_k ]

    and with the `linear` split, which keeps the known linear part of a step exact and iterates on the predictions alone,

        x_{j+1} ← a_j x_j + y_j,    one after another from x_b.

    Then the window moves past every leading state that hardly changed, ‖Δx_j‖² / D ≤ τ² s_j², and past the one after: it was
    computed from unchanged states. So a window moves by at least one step per round, and T rounds suffice. Both splits have
    the sequential trajectory as their fixed point; the same τ does not mean the same error in both.

    A first guess is not used: with a loose tolerance, a state near the guess could count as converged at the wrong mode.

    The original waits for the slowest sample of a batch. Here every environment has its own window, the network evaluates
    the rows of all windows as one flat batch, and an environment that has reached x_T leaves the batch.

    Attributes:
        table: the steps.
        window: p, the number of steps evaluated at once.
        tolerance: τ, in standard deviations of each step's noise; with 0 the result equals `Sequential`.
        split: `unit` or `linear`.
        extension: initial guess for a state that enters the window: the last state (`copy`, as in the paper), or the last
            state advanced with the known noise and the last prediction (`roll`). The default depends on the split.
        anderson: m, the number of previous rounds in a triangular Anderson step (Tang et al., ParaTAA); 0 for none.
        max_rounds: limit on the rounds. An unfinished sample is completed from its last converged state with the prediction
            held constant, and is marked `Status.OUT_OF_BUDGET`.
    """

    table: StepTable
    window: int = 20
    tolerance: float = 0.1
    split: Split = "unit"
    extension: Extension | None = None
    anderson: int = 0
    max_rounds: int | None = None

    def __post_init__(self) -> None:
        if not math.isfinite(self.tolerance):
            raise ValueError(f"tolerance must be a finite number, not {self.tolerance}")
        for name, least in (("window", 1), ("tolerance", 0), ("anderson", 0)):
            if not getattr(self, name) >= least:
                raise ValueError(f"{name} must be at least {least}, not {getattr(self, name)}")
        if self.max_rounds is not None and self.max_rounds < 1:
            raise ValueError(f"max_rounds must be at least 1, not {self.max_rounds}")
        for name, choices in (("split", get_args(Split)), ("extension", (None, *get_args(Extension)))):
            if getattr(self, name) not in choices:
                known = ", ".join(choice for choice in choices if choice)
                raise ValueError(f"{name} must be one of {known}, not {getattr(self, name)!r}")

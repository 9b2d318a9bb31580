"""What goes into a solver and what comes out of it."""

import math
from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol

import torch
from torch import Tensor

from paradp.sampler.noise import NoisePath
from paradp.sampler.table import StepTable


class Denoiser(Protocol):
    """Any callable from noisy rows `[n, …]`, their timesteps `[n]` and conditions `[n, C]` to predictions `[n, …]`.

    The timesteps are of the table's type, see `StepTable.timesteps`.
    """

    def __call__(self, x: Tensor, t: Tensor, condition: Tensor) -> Tensor: ...


class Status(IntEnum):
    """How a solve ended for one environment.

    `NOT_FINITE`: its sample, or a prediction that it rests on, is not finite. `OUT_OF_BUDGET`: rounds or time were spent
    before it was done, and the sample was completed from what was known.
    """

    CONVERGED = 0
    NOT_FINITE = 1
    OUT_OF_BUDGET = 2


@dataclass(frozen=True)
class SolverStats:
    """What a solve cost and how well it ended, for each of the B environments.

    Attributes:
        rounds: `[B]` int64, network calls that had to wait for one another.
        evaluations: `[B]` int64, rows the network computed.
        residual: `[B]`, the largest change, relative to the step's noise, that was accepted as converged.
        status: `[B]` int64, a `Status`. Not for selecting samples: how many rounds one needs depends on the sample, so that
            those that converge before a deadline are not distributed as all are. Count it, and use all samples.
        broken: `[B]` int64, the first step whose prediction is not finite; −1 for none.
    """

    rounds: Tensor
    evaluations: Tensor
    residual: Tensor
    status: Tensor
    broken: Tensor

    @property
    def converged(self) -> Tensor:
        return self.status == Status.CONVERGED


@dataclass(frozen=True)
class Solution:
    """Samples `[B, …]` and the statistics of the solve."""

    sample: Tensor
    stats: SolverStats


class Solver(Protocol):
    """Turns noise into samples: fills the trajectory of a `StepTable` in its own way."""

    @property
    def table(self) -> StepTable: ...

    @property
    def window(self) -> int:
        """The most steps of one environment that a round evaluates."""
        ...

    def solve(
        self,
        denoiser: Denoiser,
        condition: Tensor,
        noise: NoisePath,
        guess: Tensor | None = None,
        deadline: float = math.inf,
    ) -> Solution:
        """Samples `[B, …]` for conditions `[B, C]` on a noise path.

        A guess `[B, …]` at the samples, made before the noise was drawn, is for solvers whose distribution does not depend
        on it; to the others it means nothing. At the deadline, a time of `time.perf_counter()`, there is a sample whatever
        it is worth: no round is begun that would end later, if it took as long as the longest before; the first one is made
        in any case. What is not done by then is completed from what is known, and is `OUT_OF_BUDGET`.

        A deadline changes the distribution of the samples, also of those that meet it, for easy samples need fewer rounds.
        All samples together are within P(out of budget), in total variation, of those without a deadline; so use them all,
        and choose a deadline that few miss. docs/exactness.md, "With a deadline", proves it.
        """
        ...


def predict(denoiser: Denoiser, x: Tensor, t: Tensor, condition: Tensor) -> Tensor:
    """One network call.

    Raises:
        ValueError: the prediction is no tensor of the shape and type of x; the message names the timesteps.
    """
    prediction = denoiser(x, t, condition)
    if not isinstance(prediction, Tensor):
        raise ValueError(f"the denoiser returned a {type(prediction).__name__} and not a tensor {_at(t)}")
    if prediction.shape != x.shape:
        shapes = f"shape {tuple(prediction.shape)} for samples of shape {tuple(x.shape)}"
        raise ValueError(f"the denoiser returned {shapes} {_at(t)}")
    if prediction.dtype != x.dtype:
        raise ValueError(f"the denoiser returned {prediction.dtype} for samples of {x.dtype} {_at(t)}")
    return prediction


def _at(t: Tensor) -> str:
    return "at timesteps " + ", ".join(f"{one:g}" for one in t.unique().flip(0).tolist())


def check_inputs(table: StepTable, condition: Tensor, noise: NoisePath, guess: Tensor | None = None) -> None:
    """Raises:
    ValueError: the noise path is for another number of steps, the conditions are for another number of environments, or
        the guess is of another shape than the samples.
    """
    if noise.steps.shape[1] != table.steps:
        raise ValueError(f"the noise path has {noise.steps.shape[1]} steps, the table {table.steps}")
    if len(condition) != len(noise.initial):
        raise ValueError(f"there are {len(condition)} conditions and noise for {len(noise.initial)} environments")
    if guess is not None and guess.shape != noise.initial.shape:
        raise ValueError(f"the guess has shape {tuple(guess.shape)}, the samples {tuple(noise.initial.shape)}")


def outcome(sample: Tensor, clean: Tensor) -> tuple[Tensor, Tensor]:
    """How a solve that ran to its end ended.

    Args:
        sample: `[B, …]`.
        clean: `[B, T, …]`, the predictions that it rests on.

    Returns:
        `SolverStats.status` and `SolverStats.broken`.
    """
    broken = ~torch.isfinite(clean).flatten(2).all(2)
    finite = torch.isfinite(sample).flatten(1).all(1) & ~broken.any(1)
    status = torch.where(finite, int(Status.CONVERGED), int(Status.NOT_FINITE))
    return status, torch.where(broken.any(1), broken.long().argmax(1), -1)

"""The inputs and outputs of a solver."""

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

    The timesteps have the type of `StepTable.timesteps`.
    """

    def __call__(self, x: Tensor, t: Tensor, condition: Tensor) -> Tensor: ...


class Status(IntEnum):
    """How the solve of one environment ended.

    `NOT_FINITE`: the sample, or a prediction that it depends on, is not finite. `OUT_OF_BUDGET`: the limit on rounds or time
    was reached first, and the rest of the trajectory was completed from the predictions so far.
    """

    CONVERGED = 0
    NOT_FINITE = 1
    OUT_OF_BUDGET = 2


@dataclass(frozen=True, eq=False)  # tensors have no single truth value
class SolverStats:
    """Cost and outcome of a solve, for each of B environments.

    Attributes:
        rounds: `[B]` int64, sequential network calls.
        evaluations: `[B]` int64, rows that the network computed, without padding.
        residual: `[B]`, the largest change that was accepted as converged, relative to the step's noise.
        status: `[B]` int64, a `Status`. Do not select samples by it: the number of rounds depends on the sample, so samples
            that converge before a deadline have another distribution than all samples. Report it, and use all samples.
        broken: `[B]` int64, the first step with a prediction that is not finite; −1 for none.
    """

    rounds: Tensor
    evaluations: Tensor
    residual: Tensor
    status: Tensor
    broken: Tensor

    @property
    def converged(self) -> Tensor:
        return self.status == Status.CONVERGED


@dataclass(frozen=True, eq=False)  # tensors have no single truth value
class Solution:
    """Samples `[B, …]` and the statistics of the solve."""

    sample: Tensor
    stats: SolverStats


class Solver(Protocol):
    """Turns noise into samples by computing the trajectory of a `StepTable`."""

    @property
    def table(self) -> StepTable: ...

    @property
    def window(self) -> int:
        """The largest number of steps of one environment that a round evaluates."""
        ...

    def solve(
        self,
        denoiser: Denoiser,
        condition: Tensor,
        noise: NoisePath,
        guess: Tensor | None = None,
        deadline: float = math.inf,
    ) -> Solution:
        """Draws samples `[B, …]` for conditions `[B, C]` on a noise path.

        Solvers whose distribution does not depend on it use a guess `[B, …]` at the samples, which must be chosen before the
        noise is drawn; other solvers ignore it. The deadline is a time of `time.perf_counter()`. No round is started that
        would end after it, assuming that it takes as long as the longest round so far; the first round is always run. At
        the deadline, unfinished samples are completed from the predictions so far and marked `OUT_OF_BUDGET`.

        A deadline changes the distribution of the samples, even of those that meet it, because easy samples need fewer
        rounds. The total variation distance between all samples and those without a deadline is at most P(out of budget). So
        use all samples, and choose a deadline that few exceed. Proof: docs/exactness.md, "With a deadline".
        """
        ...


def predict(denoiser: Denoiser, x: Tensor, t: Tensor, condition: Tensor) -> Tensor:
    """Calls the network once, and checks its output.

    Raises:
        ValueError: the prediction is not a tensor with the shape and type of x; the message names the timesteps.
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
    """Checks the shapes of a solve's inputs.

    Raises:
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
    """The status of a solve that ran to its end.

    Args:
        sample: `[B, …]`.
        clean: `[B, T, …]`, the predictions that the sample depends on.

    Returns:
        `SolverStats.status` and `SolverStats.broken`.
    """
    broken = ~torch.isfinite(clean).flatten(2).all(2)
    finite = torch.isfinite(sample).flatten(1).all(1) & ~broken.any(1)
    status = torch.where(finite, int(Status.CONVERGED), int(Status.NOT_FINITE))
    return status, torch.where(broken.any(1), broken.long().argmax(1), -1)

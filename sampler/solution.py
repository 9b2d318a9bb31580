"""What goes into a solver and what comes out of it."""

from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol

import torch
from torch import Tensor

from paradp.sampler.noise import NoisePath
from paradp.sampler.table import StepTable


class Denoiser(Protocol):
    """Any callable from noisy rows `[n, …]`, their timesteps `[n]` and conditions `[n, C]` to predictions `[n, …]`."""

    def __call__(self, x: Tensor, t: Tensor, condition: Tensor) -> Tensor: ...


class Status(IntEnum):
    """How a solve ended for one environment."""

    CONVERGED = 0
    NOT_FINITE = 1
    OUT_OF_ROUNDS = 2


@dataclass(frozen=True)
class SolverStats:
    """What a solve cost and how well it ended, for each of the B environments.

    Attributes:
        rounds: `[B]` int64, network calls that had to wait for one another.
        evaluations: `[B]` int64, rows the network computed.
        residual: `[B]`, the largest change, relative to the step's noise, that was accepted as converged.
        status: `[B]` int64, a `Status`.
        broken: `[B]` int64, for a sample that is not finite the first step whose prediction was not; −1 for none.
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

    def solve(self, denoiser: Denoiser, condition: Tensor, noise: NoisePath, guess: Tensor | None = None) -> Solution:
        """Samples `[B, …]` for conditions `[B, C]` on a noise path.

        A guess `[B, …]` at the samples, made before the noise was drawn, is for solvers whose law does not depend on it; to
        the others it means nothing.
        """
        ...


def predict(denoiser: Denoiser, x: Tensor, t: Tensor, condition: Tensor) -> Tensor:
    """One network call.

    Raises:
        ValueError: the prediction has not the shape of x; the message names the timesteps.
    """
    prediction = denoiser(x, t, condition)
    if prediction.shape != x.shape:
        shapes = f"shape {tuple(prediction.shape)} for samples of shape {tuple(x.shape)}"
        timesteps = ", ".join(str(int(one)) for one in t.unique().flip(0))
        raise ValueError(f"the denoiser returned {shapes} at timesteps {timesteps}")
    return prediction


def final_status(sample: Tensor) -> Tensor:
    """`CONVERGED`, or `NOT_FINITE` for every environment whose sample holds NaN or infinity."""
    finite = torch.isfinite(sample).flatten(1).all(1)
    return torch.where(finite, int(Status.CONVERGED), int(Status.NOT_FINITE))


def first_broken(status: Tensor, clean: Tensor) -> Tensor:
    """The first step whose prediction, of `[B, T, …]`, is not finite, for samples that are not; −1 for the others."""
    broken = ~torch.isfinite(clean).flatten(2).all(2)
    found = (status == Status.NOT_FINITE) & broken.any(1)
    return torch.where(found, broken.long().argmax(1), -1)

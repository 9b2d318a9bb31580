"""A trained draft: what was learned beforehand of how a network's predictions follow their states."""

from typing import Protocol

import torch
from torch import Tensor

from paradp.sampler.table import StepTable


class DraftModel(Protocol):
    """Corrects a held prediction by a matrix of low rank, U diag(g) V, whose gains g depend on what is held.

    A prediction D was made at step i, at state s; the draft arrives at state x̃ of step j ≥ i. With the signal-to-noise ratio
    S = ᾱ/(1−ᾱ) and Q = √ᾱ/(1−ᾱ),

        ν = (Q_j x̃ − Q_i s − (S_j − S_i) D)/√S_j,    G = D + U diag(g) V ν/√S_j

    ν is the innovation of a Kalman filter whose state is the clean sample: what x̃ says beyond D. For Gaussian data G is
    exact if S_j U diag(g) V is the right posterior covariance. Before anything was predicted, D is the first guess and
    S_i = Q_i = 0. A model may be wrong: that costs rounds, never the distribution (docs/exactness.md).

    Attributes:
        into: `[D, r]`, V transposed.
        out: `[r, D]`, U transposed.
    """

    @property
    def into(self) -> Tensor: ...

    @property
    def out(self) -> Tensor: ...

    def gains(self, held: Tensor, made_at: Tensor, snr: Tensor, snr_held: Tensor) -> Tensor:
        """g `[n, r]`: rows must not influence each other, and nothing but these arguments may.

        Args:
            held, made_at: `[n, D]`, D (not clipped, not necessarily finite) and s.
            snr, snr_held: `[n, 1]`, S_j and S_i; S_i = 0 where D is the first guess.
        """
        ...


# Where the noise hides all signal the correction would be divided by zero.
_LEAST_SNR = 1e-6


class Levels:
    """The noise levels of a table as a draft model sees them, `[T+1]` each; the last entry is that of a first guess.

    Attributes:
        snr: S.
        follows: Q.
        root: √S, for a division.
    """

    def __init__(self, table: StepTable):
        noise = 1 - table.alpha_bar
        self.snr = _and_zero(table.alpha_bar / noise)
        self.follows = _and_zero(table.alpha_bar.sqrt() / noise)
        self.root = self.snr.clamp(min=_LEAST_SNR).sqrt()


def _and_zero(values: Tensor) -> Tensor:
    return torch.cat([values, values.new_zeros(1)])

"""The interface of a trained draft, which models how a network's predictions change with the state."""

from typing import Protocol

import torch
from torch import Tensor

from paradp.sampler.table import StepTable


class DraftModel(Protocol):
    """Corrects an earlier prediction with a low-rank matrix U diag(g) V, whose gains g depend on that prediction.

    D is a prediction at step i and state s; the draft has reached state x̃ of step j ≥ i. With the signal-to-noise ratio
    S = ᾱ/(1−ᾱ) and Q = √ᾱ/(1−ᾱ),

        ν = (Q_j x̃ − Q_i s − (S_j − S_i) D)/√S_j,    G = D + U diag(g) V ν/√S_j

    ν is the innovation of a Kalman filter whose state is the clean sample: the information in x̃ beyond D. For Gaussian
    data G is exact if S_j U diag(g) V is the right posterior covariance. Before anything was predicted, D is the first guess
    and S_i = Q_i = 0. An inaccurate model costs rounds, but does not change the distribution (docs/exactness.md).

    Attributes:
        into: `[D, r]`, V transposed.
        out: `[r, D]`, U transposed.
    """

    @property
    def into(self) -> Tensor: ...

    @property
    def out(self) -> Tensor: ...

    def gains(self, held: Tensor, made_at: Tensor, snr: Tensor, snr_held: Tensor) -> Tensor:
        """The gains g `[n, r]`. Rows must be independent, and depend on these arguments only.

        Args:
            held, made_at: `[n, D]`, D (not clipped, not necessarily finite) and s.
            snr, snr_held: `[n, 1]`, S_j and S_i; S_i = 0 where D is the first guess.
        """
        ...


# Avoids a division by zero where the state is pure noise.
_LEAST_SNR = 1e-6


class Levels:
    """The noise levels of a table for a draft model, `[T+1]` each; the last entry is for the first guess.

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

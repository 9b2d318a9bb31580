"""A denoiser that needs no network: the exact prediction for data of a known distribution."""

import math
from functools import cache

import torch
from torch import Tensor

from paradp.sampler.solution import Denoiser
from paradp.sampler.table import StepTable


def mixture_denoiser(table: StepTable, centre: float = 0.6, deviation: float = 0.15, below: float = 0.5) -> Denoiser:
    """Predicts the noise for data whose elements are ±centre·(1 + condition), half of them each, with a Gaussian spread.

    E[x_0 | x_t] of a mixture of two Gaussians, element by element: rows cannot influence each other, so that a solver can be
    checked to the last bit. The mean of a row's condition `[C]` moves its modes; a condition of zeros leaves them.

    Args:
        table: table of an epsilon-predicting schedule; the denoiser only works at its timesteps.
        centre: distance of the modes from zero.
        deviation: standard deviation around a mode.
        below: share of the elements in the mode below 0.
    """
    tilt = 0.5 * math.log((1 - below) / below)
    alpha_bar = torch.zeros(int(table.timesteps.max()) + 1, dtype=torch.float64)
    alpha_bar[table.timesteps] = table.alpha_bar.double()

    @cache
    def known(device: torch.device, dtype: torch.dtype) -> Tensor:
        return alpha_bar.to(device, dtype)

    def denoise(x: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        each = (-1,) + (1,) * (x.ndim - 1)
        bar = known(x.device, x.dtype)[t].reshape(each)
        mean = centre * (1 + condition.mean(1).reshape(each))
        signal, noise_variance = bar.sqrt(), 1 - bar
        spread = bar * deviation**2 + noise_variance
        side = torch.tanh(signal * mean * x / spread + tilt)
        clean = (signal * deviation**2 * x + noise_variance * mean * side) / spread
        return (x - signal * clean) / noise_variance.sqrt()

    return denoise

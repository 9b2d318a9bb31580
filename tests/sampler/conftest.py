"""Analytic denoisers: exact predictions for known distributions, so that solvers are tested without a network."""

import pytest
import torch

from paradp.sampler import Denoiser, NoisePath, StepTable, step_table


def mixture_denoiser(table: StepTable, centre: float = 0.6, deviation: float = 0.15) -> Denoiser:
    """Predicts noise for elements that are ±centre·(1 + condition) with equal chances, with a Gaussian spread.

    The posterior mean under a two-component Gaussian mixture, element by element: rows cannot influence each other.
    """
    alpha_bar = torch.zeros(1000, dtype=torch.float64)
    alpha_bar[table.timesteps] = table.from_state**-2  # of an epsilon-prediction table: u = 1/√ᾱ

    def denoise(x: torch.Tensor, t: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
        bar = alpha_bar[t].to(x.dtype).reshape(-1, *[1] * (x.ndim - 1))
        signal, noise_variance = bar.sqrt(), 1 - bar
        mean = centre * (1 + condition.mean(1)).reshape(-1, *[1] * (x.ndim - 1))
        spread = bar * deviation**2 + noise_variance
        side = torch.tanh(signal * mean * x / spread)
        clean = (signal * deviation**2 * x + noise_variance * mean * side) / spread
        return (x - signal * clean) / noise_variance.sqrt()

    return denoise


@pytest.fixture
def config() -> dict:
    return {
        "_class_name": "DDPMScheduler",
        "num_train_timesteps": 100,
        "beta_schedule": "squaredcos_cap_v2",
        "prediction_type": "epsilon",
        "clip_sample": True,
    }


@pytest.fixture
def table(config) -> StepTable:
    return step_table(config)


@pytest.fixture
def denoiser(table) -> Denoiser:
    return mixture_denoiser(table)


@pytest.fixture
def make_denoiser():
    """The mixture's denoiser for a table of one's own."""
    return mixture_denoiser


@pytest.fixture
def draw():
    """Draws conditions and a noise path for seeds: `draw(seeds, table, dtype)`."""

    def draw_path(seeds, table, dtype=torch.float64, shape=(4, 2)):
        noise = NoisePath.draw([torch.Generator().manual_seed(s) for s in seeds], table.steps, shape, dtype=dtype)
        condition = torch.stack([torch.rand(3, generator=torch.Generator().manual_seed(10_000 + s)) for s in seeds])
        return condition.to(dtype), noise

    return draw_path

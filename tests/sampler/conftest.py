"""An analytic denoiser, on which solvers are tested without a network."""

import pytest
import torch

from paradp.sampler import Denoiser, NoisePath, StepTable, mixture_denoiser, step_table


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


class RandomDraft:
    """A draft model with random weights, whose gains depend on all allowed inputs."""

    def __init__(self, size: int, scale: float, seed: int = 0):
        generator = torch.Generator().manual_seed(seed)
        self.into = torch.randn(size, 3, generator=generator)
        self.out = scale * torch.randn(3, size, generator=generator)
        self._looks = torch.randn(2 * size + 2, 3, generator=generator)

    def gains(self, held, made_at, snr, snr_held):
        return (torch.cat([held, made_at, snr.log1p(), snr_held.log1p()], 1) @ self._looks).tanh()


@pytest.fixture
def random_draft():
    """Makes a draft model of random weights, for samples of so many elements."""
    return RandomDraft


@pytest.fixture
def draw():
    """Draws conditions and a noise path for seeds: `draw(seeds, table, dtype)`."""

    def draw_path(seeds, table, dtype=torch.float64, shape=(4, 2)):
        noise = NoisePath.draw([torch.Generator().manual_seed(s) for s in seeds], table.steps, shape, dtype=dtype)
        condition = torch.stack([torch.rand(3, generator=torch.Generator().manual_seed(10_000 + s)) for s in seeds])
        return condition.to(dtype), noise

    return draw_path


@pytest.fixture
def assert_independent():
    """Checks with six environments that none depends on the others."""

    def check(solver, denoiser, condition, noise) -> None:
        together = solver.solve(denoiser, condition, noise)
        order = torch.tensor([3, 0, 5])
        fewer = solver.solve(denoiser, condition[order], noise[order])
        assert torch.equal(fewer.sample, together.sample[order])
        assert torch.equal(fewer.stats.rounds, together.stats.rounds[order])
        assert torch.equal(fewer.stats.evaluations, together.stats.evaluations[order])

        other = condition.clone()
        other[2] += 1
        replaced = solver.solve(denoiser, other, noise)
        rest = torch.arange(6) != 2
        assert torch.equal(replaced.sample[rest], together.sample[rest])
        assert not torch.equal(replaced.sample[2], together.sample[2])

    return check

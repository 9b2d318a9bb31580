"""Inpainting: a chunk is sampled so that it matches known actions."""

import pytest
import torch

from paradp.policy import DiffusionPolicy
from paradp.policy.engines.pytorch import EagerEngine
from paradp.policy.inpainting import Inpainting
from paradp.policy.observations import blank
from paradp.sampler import (
    NoisePath,
    Picard,
    SamplerChoice,
    Sequential,
    Speculative,
    iterates_of,
    mixture_denoiser,
    step_table,
)


class Analytic:
    """The mixture's denoiser as an engine."""

    graphs = None

    def __init__(self, table):
        self._denoiser = mixture_denoiser(table)

    def encode(self, condition):
        return condition

    def __call__(self, x, t, condition):
        assert condition.shape[1] == 3
        return self._denoiser(x, t, condition)


SOLVERS = {
    "sequential": Sequential,
    "picard": lambda table: Picard(table, 20, 0.0),
    "linear": lambda table: Picard(table, 20, 0.0, split="linear"),
    "speculative": lambda table: Speculative(table, 20),
}


@pytest.fixture
def table():
    return step_table({"_class_name": "DDPMScheduler", "num_train_timesteps": 100, "beta_schedule": "squaredcos_cap_v2"})


def draw(table, count: int):
    noise = NoisePath.draw(
        [torch.Generator().manual_seed(i) for i in range(count)], table.steps, (4, 2), dtype=torch.float64
    )
    return torch.rand(count, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(99)), noise


@pytest.mark.parametrize("name", SOLVERS)
def test_known_actions_are_kept_and_the_rest_is_denoised(table, name):
    inpainting, (condition, noise) = Inpainting(Analytic(table), table), draw(table, 8)
    known = torch.full((8, 4, 2), 0.3, dtype=torch.float64)
    weight = torch.tensor([1.0, 1.0, 0.0, 0.0], dtype=torch.float64).expand(8, -1)
    sample = SOLVERS[name](table).solve(inpainting, inpainting.encode(condition, known, weight), noise).sample
    assert (sample[:, :2] - 0.3).abs().max() < 1e-12
    assert (sample[:, 2:] - 0.3).abs().min() > 1e-6 and sample.isfinite().all()


@pytest.mark.parametrize("name", SOLVERS)
def test_without_weights_nothing_changes(table, name):
    engine, (condition, noise) = Analytic(table), draw(table, 8)
    inpainting = Inpainting(engine, table)
    encoded = inpainting.encode(condition, torch.rand(8, 4, 2, dtype=torch.float64), torch.zeros(8, 4, dtype=torch.float64))
    solver = SOLVERS[name](table)
    assert torch.equal(solver.solve(inpainting, encoded, noise).sample, solver.solve(engine, condition, noise).sample)


@pytest.mark.parametrize("prediction", ["epsilon", "sample", "v_prediction"])
def test_parallel_equals_sequential_also_with_soft_weights(prediction):
    table = step_table({"_class_name": "DDPMScheduler", "num_train_timesteps": 100, "prediction_type": prediction,
                        "beta_schedule": "squaredcos_cap_v2"})  # fmt: skip
    inpainting, (condition, noise) = Inpainting(Analytic(table), table), draw(table, 4)
    known = torch.rand(4, 4, 2, dtype=torch.float64) - 0.5
    encoded = inpainting.encode(condition, known, torch.tensor([1.0, 0.7, 0.3, 0.0], dtype=torch.float64).expand(4, -1))
    expected = Sequential(table).solve(inpainting, encoded, noise).sample
    found = Picard(table, 20, 0.0).solve(inpainting, encoded, noise).sample
    assert (found - expected).abs().max() < 1e-9
    # The more weight, the nearer.
    away = (expected - known).abs().mean((0, 2))
    assert away[0] < 1e-9 and away[1] < away[3]


def test_the_held_part_follows_the_path_of_diffusion(table):
    """At every step its states have the mean and variance of q(x_k | x_0 = known)."""
    inpainting, (condition, noise) = Inpainting(Analytic(table), table), draw(table, 400)
    known = torch.full((400, 4, 2), 0.5, dtype=torch.float64)
    encoded = inpainting.encode(condition, known, torch.ones(400, 4, dtype=torch.float64))
    *_, states = iterates_of(Picard(table, 100, 0.0), inpainting, encoded, noise)
    bar = table.alpha_bar[40]
    x = states[:, 40].flatten()
    # Started from pure noise, not from q(x_0-th | known): at step 40 the start is all but forgotten.
    error = 5 * ((1 - bar) / len(x)).sqrt()
    assert abs(x.mean() - bar.sqrt() * 0.5) < error + 1e-3
    assert x.var() / (1 - bar) == pytest.approx(1.0, abs=5 * (2 / len(x)) ** 0.5)


def test_a_network_gets_conditions_with_the_same_strides_as_without(table):
    """Also a single one: a compiler would compile again for other strides, in the middle of an episode."""
    strides = []

    class Records(Analytic):
        def __call__(self, x, t, condition):
            strides.append(condition.stride())
            return super().__call__(x, t, condition)

    inpainting = Inpainting(Records(table), table)
    for rows in (1, 2):
        condition = inpainting.encode(torch.zeros(rows, 3), torch.zeros(rows, 16, 1), torch.ones(rows, 16))
        inpainting(torch.zeros(rows, 16, 1), torch.zeros(rows, dtype=torch.int64), condition)
    assert strides == [torch.zeros(1, 3).stride()] * 2


def test_a_plan_matches_the_actions_to_keep(trained):
    solver = SamplerChoice.parse("ddim-10").build(trained.spec.schedule)
    policy = DiffusionPolicy(
        trained.spec, trained.network, trained.observation_normalizer, trained.action_normalizer, solver
    )
    assert isinstance(policy.engine, EagerEngine)
    histories, guess = blank(trained.spec, 2, 2), torch.full((2, 16, 2), 0.25)
    keep = torch.zeros(2, 16)
    keep[0, :6] = 1

    def plan(**options):
        return policy.plan(histories, [torch.Generator().manual_seed(i) for i in range(2)], guess, **options)

    held, free = plan(keep=keep), plan()
    assert (held.chunks[0, :6] - 0.25).abs().max() < 1e-6
    # The other environment keeps nothing.
    assert torch.equal(held.chunks[1], free.chunks[1]) and not torch.equal(held.chunks[0, 6:], free.chunks[0, 6:])

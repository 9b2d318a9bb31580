"""Noise is drawn up front, reproducibly, and for every environment from its own generator."""

import torch

from paradp.sampler import NoisePath


def draw(seeds, steps=10):
    return NoisePath.draw([torch.Generator().manual_seed(s) for s in seeds], steps, (3, 2))


def test_a_path_depends_on_its_own_generator_only():
    together, alone = draw([5, 6, 7]), draw([6])
    assert torch.equal(together.initial[1], alone.initial[0])
    assert torch.equal(together.steps[1], alone.steps[0])
    assert not torch.equal(together.steps[0], together.steps[1])


def test_a_generator_goes_on_to_fresh_noise():
    generator = torch.Generator().manual_seed(0)
    first, second = (NoisePath.draw([generator], 10, (3, 2)) for _ in range(2))
    assert not torch.equal(first.initial, second.initial)


def test_noise_is_standard_normal():
    path = draw(range(200), steps=100)
    values = torch.cat([path.initial.flatten(), path.steps.flatten()]).double()
    n = len(values)
    assert abs(values.mean()) < 5 / n**0.5
    assert abs(values.var() - 1) < 5 * (2 / n) ** 0.5
    assert abs((values**4).mean() - 3) < 5 * (96 / n) ** 0.5

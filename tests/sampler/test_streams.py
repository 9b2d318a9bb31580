"""Random streams by name: published ones keep their numbers, and no two streams overlap."""

from collections.abc import Iterator
from typing import get_args

import numpy as np
import pytest
import torch

from paradp.sampler import NoisePath
from paradp.sampler.noise import noise_generator
from paradp.sampler.streams import Name, check_episode_seeds, stream

SEEDS = [*range(24), 1000, 100_000, 1_000_000, 2**31, 2**32 - 1]
# Noise has seeds up to 2⁶³: among them those that differ in their upper half only.
NOISE_SEEDS = [*SEEDS, *(2**32 + seed for seed in range(24)), *(5 + (1 << bit) for bit in range(33, 63)), 2**63 - 1]
WORDS = 400


def words_of(generator: np.random.Generator | torch.Generator) -> list[int]:
    """The numbers of a generator, 31 bits each, in its order."""
    if isinstance(generator, torch.Generator):
        return torch.empty(WORDS, dtype=torch.int32).random_(generator=generator).tolist()
    raw = generator.bit_generator.random_raw(WORDS // 2)
    return (raw.view(np.uint32) % 2**31).tolist()


def windows(words: list[int]) -> Iterator[tuple[int, ...]]:
    """All sequences of three draws: by chance, no two of a million are equal (probability below 10⁻¹⁵)."""
    return zip(words, words[1:], words[2:], strict=False)


def test_no_two_streams_coincide_or_overlap():
    streams = {(name, seed): words_of(stream(seed, name)) for name in get_args(Name) for seed in SEEDS}
    streams |= {("torch", seed): words_of(noise_generator(seed)) for seed in NOISE_SEEDS}
    found: dict[tuple[int, ...], tuple[str, int]] = {}
    for key, words in streams.items():
        for window in windows(words):
            assert found.setdefault(window, key) == key, f"{key} repeats {found[window]}"
    assert len(found) == (WORDS - 2) * len(streams)


@pytest.mark.parametrize("seed", [0, 7, 123_456, 2**32 - 1])
def test_published_streams_keep_their_numbers(seed):
    for name, entropy in (("environment", seed), ("expert", [seed, 1]), ("disturbance", [seed, 2])):
        assert words_of(stream(seed, name)) == words_of(np.random.default_rng(entropy))
    assert words_of(noise_generator(seed)) == words_of(torch.Generator().manual_seed(seed))
    normal = torch.randn(100, generator=noise_generator(seed))
    assert torch.equal(normal, torch.randn(100, generator=torch.Generator().manual_seed(seed)))


def test_noise_of_large_seeds_is_random_and_reproducible():
    seeds = [2**32, 2**40 + 3, 2**63 - 1]
    paths = NoisePath.draw([noise_generator(seed) for seed in seeds], 100, (16, 10))
    again = NoisePath.draw([noise_generator(seed) for seed in seeds], 100, (16, 10))
    assert torch.equal(paths.steps, again.steps) and torch.equal(paths.uniforms, again.uniforms)
    flat = paths.steps.flatten(1)
    assert flat.mean(1).abs().max() < 5 / flat.shape[1] ** 0.5 and (flat.var(1) - 1).abs().max() < 0.06
    assert (torch.corrcoef(flat) - torch.eye(3)).abs().max() < 5 / flat.shape[1] ** 0.5


def test_without_a_seed_every_stream_differs():
    assert words_of(stream(None, "noise")) != words_of(stream(None, "noise"))


@pytest.mark.parametrize(("seed", "name", "said"), [(-1, "noise", "at least 0, not -1"), (0, "weather", "there are: envir")])
def test_an_unknown_stream_is_refused(seed, name, said):
    with pytest.raises(ValueError, match=said):
        stream(seed, name)
    if seed < 0:
        with pytest.raises(ValueError, match=said):
            noise_generator(seed)


@pytest.mark.parametrize(("first", "episodes"), [(-1, 1), (2**32, 1), (2**32 - 1, 2)])
def test_episodes_have_seeds_that_scenes_and_experts_do_not_share(first, episodes):
    check_episode_seeds(0, 1)
    check_episode_seeds(2**32 - 1, 1)
    with pytest.raises(ValueError, match="episodes have seeds from 0 to"):
        check_episode_seeds(first, episodes)

"""All the randomness of a solve, drawn before it begins."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from paradp.sampler.streams import seed_sequence

# `torch.Generator.manual_seed` only uses the lower 32 bits of a seed on a CPU.
_TORCH_SEEDS = 2**32
# The state of torch's CPU generator as bytes: seed and counters, then the words of a Mersenne Twister, each in 64 bits.
_WORDS = 624
_FIRST_WORD = 24


@dataclass(frozen=True, eq=False)  # tensors have no single truth value
class NoisePath:
    """The initial noise and the noise of every step. Sequential and parallel solvers must agree on the same path.

    Attributes:
        initial: `[B, …]`, x_0.
        steps: `[B, T, …]`, ξ_k of every step k.
        uniforms: `[B, T]`, in (0, 1]: used by solvers that accept or reject step k.
    """

    initial: Tensor
    steps: Tensor
    uniforms: Tensor

    @classmethod
    def draw(
        cls,
        generators: Sequence[torch.Generator],
        steps: int,
        shape: tuple[int, ...],
        device: torch.device | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> "NoisePath":
        """Draws a path of T = `steps` for samples of `shape`, from one CPU generator for each environment.

        The path of an environment depends only on its own generator, not on other environments or the device.
        """
        batch, size = len(generators), math.prod(shape)
        # One block of pinned memory: a GPU copies it in one transfer, while the host continues.
        on_gpu = device is not None and device.type == "cuda"
        drawn = torch.empty(batch, (steps + 1) * size + steps, dtype=dtype, pin_memory=on_gpu)
        paths, uniforms = cls._parts(drawn, steps, shape)
        for path, uniform, generator in zip(paths, uniforms, generators, strict=True):
            path.normal_(generator=generator)
            torch.sub(1, uniform.uniform_(generator=generator), out=uniform)
        paths, uniforms = cls._parts(drawn.to(device, non_blocking=on_gpu), steps, shape)
        return cls(initial=paths[:, 0], steps=paths[:, 1:], uniforms=uniforms)

    @staticmethod
    def _parts(drawn: Tensor, steps: int, shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        """Splits the drawn numbers into the path `[B, T+1, …]` and the uniforms `[B, T]`."""
        path, uniforms = drawn.split([drawn.shape[1] - steps, steps], dim=1)
        return path.unflatten(1, (steps + 1, *shape)), uniforms

    def __getitem__(self, environments: Tensor | slice) -> "NoisePath":
        """The paths of some of the environments."""
        return NoisePath(self.initial[environments], self.steps[environments], self.uniforms[environments])


def noise_generator(seed: int) -> torch.Generator:
    """A CPU generator for `NoisePath.draw` that uses all bits of a seed.

    For seeds below 2³² it is `torch.Generator().manual_seed(seed)`. PyTorch ignores the higher bits, so seed 2³² + 1 would
    repeat seed 1. For such seeds the generator's state is drawn from the seed's stream `noise`.

    Raises:
        ValueError: the seed is negative.
    """
    sequence = seed_sequence(seed, "noise")
    generator = torch.Generator().manual_seed(seed % _TORCH_SEEDS)
    if seed < _TORCH_SEEDS:
        return generator
    state = generator.get_state()
    words = state.numpy()[_FIRST_WORD : _FIRST_WORD + 8 * _WORDS].view(np.uint64)
    words[:] = sequence.spawn(1)[0].generate_state(_WORDS)
    words[0] = 2**31  # as every seeding of a Mersenne Twister begins, which must not be all zeros
    generator.set_state(state)
    return generator

"""The 1-D convolutional U-Net of Diffusion Policy, conditioned by FiLM."""

import itertools
from collections.abc import Iterable, Iterator
from typing import cast

import torch
from torch import Tensor, nn

from paradp.policy.networks.conditional import ConditionalNetwork, SinusoidalEmbedding
from paradp.policy.networks.unet_config import UnetConfig
from paradp.policy.spec import PolicySpec


def build(spec: PolicySpec, config: UnetConfig) -> "ConditionalUnet1D":
    """Builds the network for a policy's actions and observations, with random weights."""
    return ConditionalUnet1D(spec.action_size, spec.condition_size, config)


class ConditionalUnet1D(ConditionalNetwork):
    """Predicts noise (or the sample, or v) for noisy action chunks.

    Chi et al., "Diffusion Policy: Visuomotor Policy Learning via Action Diffusion" (RSS 2023), §4.1 and its CNN-based
    network: residual blocks of convolutions along the horizon, each modulated by a scale and a bias (FiLM) that depend on
    the diffusion timestep and the observation.

    Args:
        action_size: A.
        condition_size: C, length of the encoded observation.
        config: sizes.
    """

    def __init__(self, action_size: int, condition_size: int, config: UnetConfig):
        super().__init__()
        embedding = config.timestep_embedding
        self.timestep_encoder = nn.Sequential(
            SinusoidalEmbedding(embedding),
            nn.Linear(embedding, 4 * embedding),
            nn.Mish(),
            nn.Linear(4 * embedding, embedding),
        )
        film_size = embedding + condition_size

        def block(size_in: int, size_out: int) -> ResidualBlock:
            return ResidualBlock(size_in, size_out, film_size, config.kernel_size, config.groups)

        sizes = [action_size, *config.channels]
        pairs = list(itertools.pairwise(sizes))
        last = len(pairs) - 1
        self.down = nn.ModuleList(
            Stage(block(a, b), block(b, b), nn.Identity() if i == last else nn.Conv1d(b, b, 3, 2, 1))
            for i, (a, b) in enumerate(pairs)
        )
        self.middle = Stage(block(sizes[-1], sizes[-1]), block(sizes[-1], sizes[-1]), nn.Identity())
        self.up = nn.ModuleList(
            Stage(block(2 * b, a), block(a, a), nn.ConvTranspose1d(a, a, 4, 2, 1)) for a, b in reversed(pairs[1:])
        )
        self.head = nn.Sequential(
            ConvBlock(sizes[1], sizes[1], config.kernel_size, config.head_groups or config.groups),
            nn.Conv1d(sizes[1], action_size, 1),
        )

    def encode_timestep(self, timestep: Tensor) -> Tensor:
        """Computes the timestep's part of all scales and biases, `[n, F]`, for integer timesteps `[n]`."""
        embedding = self.timestep_encoder(timestep)
        return torch.cat([block.film_of_timestep(embedding) for block in self.blocks()], dim=1)

    def encode_condition(self, condition: Tensor) -> Tensor:
        """Computes the observation's part of all scales and biases, `[n, F]`, for conditions `[n, C]`."""
        return torch.cat([block.film_of_condition(condition) for block in self.blocks()], dim=1)

    def denoise(self, x: Tensor, timestep: Tensor, condition: Tensor) -> Tensor:
        """Predictions `[n, H, A]` for chunks `[n, H, A]`, encoded timesteps and encoded conditions, `[n, F]` each."""
        film = iter((timestep + condition).split([2 * block.size for block in self.blocks()], dim=1))
        h = x.transpose(1, 2)
        skips = []
        for stage in cast(Iterable[Stage], self.down):
            skips.append(stage(h, film))
            h = stage.resample(skips[-1])
        h = self.middle(h, film)
        for stage in cast(Iterable[Stage], self.up):
            h = stage.resample(stage(torch.cat([h, skips.pop()], dim=1), film))
        return self.head(h).transpose(1, 2)

    def blocks(self) -> "list[ResidualBlock]":
        """All residual blocks, in the order of computation."""
        stages = [*self.down, self.middle, *self.up]
        return [block for stage in cast(Iterable[Stage], stages) for block in (stage.first, stage.second)]


class Stage(nn.Module):
    """Two residual blocks at one resolution, and the resampling to the next resolution."""

    resample: nn.Module

    def __init__(self, first: "ResidualBlock", second: "ResidualBlock", resample: nn.Module):
        super().__init__()
        self.first = first
        self.second = second
        self.resample = resample

    def forward(self, x: Tensor, film: Iterator[Tensor]) -> Tensor:
        return self.second(self.first(x, next(film)), next(film))


class ResidualBlock(nn.Module):
    """Two convolutions with a residual; FiLM modulates between them.

    Scale and bias are sums of a linear function of the timestep's encoding and one of the observation's.
    """

    def __init__(self, size_in: int, size_out: int, film_size: int, kernel_size: int, groups: int):
        super().__init__()
        self.size = size_out
        self.first = ConvBlock(size_in, size_out, kernel_size, groups)
        self.film = nn.Sequential(nn.Mish(), nn.Linear(film_size, 2 * size_out))
        self.second = ConvBlock(size_out, size_out, kernel_size, groups)
        self.residual = nn.Conv1d(size_in, size_out, 1) if size_in != size_out else nn.Identity()

    def film_of_timestep(self, embedding: Tensor) -> Tensor:
        """The timestep's part of scale and bias `[n, 2·size]`, including the constant."""
        linear = cast(nn.Linear, self.film[1])
        return nn.functional.linear(self.film[0](embedding), linear.weight[:, : embedding.shape[1]], linear.bias)

    def film_of_condition(self, condition: Tensor) -> Tensor:
        """The observation's part of scale and bias `[n, 2·size]`."""
        linear = cast(nn.Linear, self.film[1])
        return nn.functional.linear(self.film[0](condition), linear.weight[:, -condition.shape[1] :])

    def forward(self, x: Tensor, film: Tensor) -> Tensor:
        scale, bias = film.unsqueeze(-1).chunk(2, dim=1)
        return self.second(torch.addcmul(bias, scale, self.first(x))) + self.residual(x)


class ConvBlock(nn.Sequential):
    """Convolution along the horizon, group normalisation, Mish."""

    def __init__(self, size_in: int, size_out: int, kernel_size: int, groups: int):
        super().__init__(
            nn.Conv1d(size_in, size_out, kernel_size, padding=kernel_size // 2),
            nn.GroupNorm(groups, size_out),
            nn.Mish(),
        )

"""What all denoising networks have in common: timestep and observation are encoded apart from the noisy chunk."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from paradp.policy.networks.vision.encoder import VisionEncoder


class ConditionalNetwork(nn.Module, ABC):
    """Predicts noise (or the sample, or v) for noisy action chunks.

    The timesteps are known beforehand and the observation is the same for all steps of a plan: what depends on them alone is
    encoded apart, so that an engine can tabulate the one and compute the other once a plan.

    Attributes:
        vision: encodes the images; without it they are seen as their pixels.
    """

    def __init__(self) -> None:
        super().__init__()
        self.vision: VisionEncoder | None = None

    def encode_observation(self, observation: Mapping[str, Tensor], places: Tensor | None = None) -> Tensor:
        """The conditions `[n, C]` for normalised observations, by feature `[n, To, *shape]`: computed once a plan.

        Their numbers side by side, step by step: an image as its pixels, or as what `vision` says of it.

        Args:
            observation: see above.
            places: where `vision` crops the images, see `VisionEncoder`; in training they are random.
        """
        if self.vision is not None:
            observation = self.vision(observation, places)
        return self.join(observation)

    @staticmethod
    def join(observation: Mapping[str, Tensor]) -> Tensor:
        """The conditions `[n, C]` of observations whose images are encoded, if they are to be."""
        return torch.cat([values.flatten(2) for values in observation.values()], 2).flatten(1)

    @abstractmethod
    def encode_timestep(self, timestep: Tensor) -> Tensor:
        """What `denoise` needs of integer timesteps `[n]`: `[n, F]`."""

    @abstractmethod
    def encode_condition(self, condition: Tensor) -> Tensor:
        """What `denoise` needs of conditions `[n, C]`: `[n, G]`."""

    @abstractmethod
    def denoise(self, x: Tensor, timestep: Tensor, condition: Tensor) -> Tensor:
        """The prediction `[n, H, A]` for chunks `[n, H, A]`, encoded timesteps `[n, F]` and encoded conditions `[n, G]`."""

    def forward(self, x: Tensor, timestep: Tensor, condition: Tensor) -> Tensor:
        """The prediction `[n, H, A]` for chunks `[n, H, A]`, integer timesteps `[n]` and conditions `[n, C]`."""
        return self.denoise(x, self.encode_timestep(timestep), self.encode_condition(condition))


class SinusoidalEmbedding(nn.Module):
    """Sines and cosines of the timestep at geometrically spaced frequencies ("Attention Is All You Need", §3.5)."""

    frequencies: Tensor

    def __init__(self, size: int):
        super().__init__()
        half = size // 2
        self.register_buffer("frequencies", torch.exp(-math.log(10_000) / (half - 1) * torch.arange(half)), persistent=False)

    def forward(self, timestep: Tensor) -> Tensor:
        angles = timestep[:, None].to(self.frequencies.dtype) * self.frequencies
        return torch.cat([angles.sin(), angles.cos()], dim=-1)

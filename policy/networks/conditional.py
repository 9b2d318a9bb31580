"""Base class of denoising networks, which encode timestep and observation separately from the noisy chunk."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from paradp.policy.networks.vision.encoder import VisionEncoder


class ConditionalNetwork(nn.Module, ABC):
    """Predicts noise (or the sample, or v) for noisy action chunks.

    The timesteps are known in advance, and the observation is the same for all steps of a plan. Their encodings are
    separate, so that an engine can tabulate the first, and compute the second once per plan.

    Attributes:
        vision: encodes the images; without it the network's inputs are their pixels.
    """

    def __init__(self) -> None:
        super().__init__()
        self.vision: VisionEncoder | None = None

    def encode_observation(self, observation: Mapping[str, Tensor], places: Tensor | None = None) -> Tensor:
        """Computes the conditions `[n, C]` for normalised observations, by feature `[n, To, *shape]`, once per plan.

        They are the concatenated numbers of each step; an image gives its pixels, or the features of `vision`.

        Args:
            observation: see above.
            places: positions of the images' crops, see `VisionEncoder`; random in training.
        """
        if self.vision is not None:
            observation = self.vision(observation, places)
        return self.join(observation)

    @staticmethod
    def join(observation: Mapping[str, Tensor]) -> Tensor:
        """Concatenates observations, whose images are already encoded, to conditions `[n, C]`."""
        return torch.cat([values.flatten(2) for values in observation.values()], 2).flatten(1)

    @abstractmethod
    def encode_timestep(self, timestep: Tensor) -> Tensor:
        """Encodes integer timesteps `[n]` for `denoise`: `[n, F]`."""

    @abstractmethod
    def encode_condition(self, condition: Tensor) -> Tensor:
        """Encodes conditions `[n, C]` for `denoise`: `[n, G]`."""

    @abstractmethod
    def denoise(self, x: Tensor, timestep: Tensor, condition: Tensor) -> Tensor:
        """Predictions `[n, H, A]` for chunks `[n, H, A]`, encoded timesteps `[n, F]` and encoded conditions `[n, G]`."""

    def forward(self, x: Tensor, timestep: Tensor, condition: Tensor) -> Tensor:
        """Computes predictions `[n, H, A]` for chunks `[n, H, A]`, integer timesteps `[n]` and conditions `[n, C]`."""
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

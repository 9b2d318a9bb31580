"""What LeRobot, Diffusion Policy and robomimic sampled with diffusers' schedulers, compared with our samplers."""

from collections.abc import Mapping

import torch
from torch import Tensor

from paradp.sampler import NoisePath

# Our sampler → theirs.
THEIRS = {
    "ddpm": "ddpm-100",
    "ddpm-10:spacing=leading": "ddpm-10",
    "ddim-10": "ddim-10",
    "para-ddpm:tolerance=0": "ddpm-100",
    "para-ddim-10:tolerance=0": "ddim-10",
}
# A hundred steps without noise from random weights: the first ones amplify rounding.
LOOSE = {"ddim-100": "ddim-100"}


def path_of(answer: Mapping[str, Tensor], steps: int) -> NoisePath:
    """The noise that they were given, step by step."""
    noise = answer["steps"][:, :steps]
    return NoisePath(answer["initial"], noise, torch.full(noise.shape[:2], 0.5))


def difference(found: Tensor, theirs: Tensor) -> float:
    """The largest difference, relative to their largest number if that is above 1."""
    return float((found - theirs).abs().max() / theirs.abs().max().clamp(min=1))

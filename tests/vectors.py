"""Observations as one vector, which is shorter to write in tests than a dict of arrays."""

from collections.abc import Mapping

import numpy as np
import torch

from paradp.policy.data.normalizer import ObservationNormalizer
from paradp.policy.spec import Interface


def parted(spec: Interface, vectors: np.ndarray) -> dict[str, np.ndarray]:
    """Splits vectors `[…, O]` into features."""
    ends = np.cumsum([feature.size for feature in spec.observed.values()])[:-1]
    return dict(zip(spec.observed, np.split(vectors, ends, axis=-1), strict=True))


def joined(observations: Mapping[str, np.ndarray]) -> np.ndarray:
    """Concatenates all features, `[…, O]`."""
    return np.concatenate(list(observations.values()), axis=-1)


def scaled(spec: Interface, offset: float = 0.0, scale: float = 1.0) -> ObservationNormalizer:
    """A scaling with the same numbers for every dimension."""
    size = spec.observation_size
    return ObservationNormalizer.of(spec.observed, torch.full((size,), offset), torch.full((size,), scale))


def staged(denoise):
    """A network made from a function `(x, timesteps, conditions)`, for a training's objective."""
    denoise.encode_observation = lambda observation, places=None: torch.cat(
        [v.flatten(2) for v in observation.values()], 2
    ).flatten(1)
    return denoise

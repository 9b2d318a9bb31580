"""Features: the named arrays that observations and actions consist of, each with a kind and a shape."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Literal

import numpy as np

Kind = Literal["state", "image", "action"]
# A shape in configuration files: the length of a vector, or height, width and channels of an image.
Shape = int | tuple[int, int, int]


@dataclass(frozen=True)
class Feature:
    """One named part of an observation, or of an action.

    Attributes:
        kind: a `state` and an `action` are float32 vectors, an `image` is uint8.
        shape: of one control step: `(n,)`, or height, width and channels.
    """

    kind: Kind
    shape: tuple[int, ...]

    @classmethod
    def observed(cls, shape: Shape) -> "Feature":
        """The feature for a shape in a configuration file."""
        return cls("state", (shape,)) if isinstance(shape, int) else cls("image", tuple(shape))

    @property
    def size(self) -> int:
        """The number of values in one control step."""
        return prod(self.shape)

    @property
    def dtype(self) -> np.dtype:
        """The dtype of its arrays in environments, demonstrations and messages."""
        return np.dtype(np.uint8 if self.kind == "image" else np.float32)

    @property
    def channels(self) -> int:
        """Shape of its normaliser: one value per element of a vector, or per channel of an image."""
        return self.shape[-1]


def observed_features(observation: Mapping[str, Shape]) -> dict[str, Feature]:
    """The features of an observation, in their order."""
    return {key: Feature.observed(shape) for key, shape in observation.items()}


def action_features(action: Mapping[str, int]) -> dict[str, Feature]:
    """The features of an action, in their order."""
    return {name: Feature("action", (size,)) for name, size in action.items()}

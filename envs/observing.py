"""Observation spaces."""

import numpy as np
from gymnasium import spaces

from paradp.envs.task import Features


def space_of(features: Features, farthest: float, drawn: bool = True) -> spaces.Dict:
    """The gymnasium space of some features.

    Args:
        features: key → length of a vector, or height, width and channels of an image.
        farthest: bound of the absolute value of each number in a vector.
        drawn: whether observations have their images.
    """
    boxes = {}
    for key, shape in features.items():
        if isinstance(shape, int):
            boxes[key] = spaces.Box(-farthest, farthest, (shape,), np.float32)
        elif drawn:
            boxes[key] = spaces.Box(0, 255, shape, np.uint8)
    return spaces.Dict(boxes)

"""The weights of the ResNets in the fixtures of LeRobot: a formula, for a ResNet has 45 MB. Needs numpy alone."""

import json
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

# What is left out of a fixture's `model.safetensors`: name → shape of every tensor.
LEFT_OUT = "backbone.json"
_COUNTED = "num_batches_tracked"


def is_backbone(name: str) -> bool:
    """Whether a tensor of LeRobot's is one of a ResNet."""
    return ".backbone." in name


def weights(name: str, shape: Sequence[int]) -> np.ndarray:
    """The values of a tensor: they depend on its name and shape alone, on every machine."""
    if name.endswith(_COUNTED):
        return np.array(7, np.int64)
    rng = np.random.RandomState(zlib.crc32(name.encode()))
    drawn = rng.uniform(-1, 1, tuple(shape)).astype(np.float32)
    if len(shape) > 1:
        # Of a convolution: smaller than usual, so that many layers in a row do not grow.
        return drawn * np.float32(np.sqrt(2 / np.prod(shape[1:])))
    if name.endswith(("running_var", "weight")):
        return 1 + drawn / 2
    return drawn / 5


def left_out(folder: Path) -> Mapping[str, np.ndarray]:
    """Of a fixture, all tensors that its `model.safetensors` lacks; none where it lacks none."""
    if not (folder / LEFT_OUT).exists():
        return {}
    return {name: weights(name, shape) for name, shape in json.loads((folder / LEFT_OUT).read_text()).items()}

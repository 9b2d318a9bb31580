"""Observations: dicts of arrays from the environment to the network, checked once on entry.

An observation maps each feature of the policy's interface to an array of its shape. Histories, `[To, …]`, and batches of
histories, `[B, To, …]`, are dicts of arrays with further axes in front.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from paradp.policy.features import Feature
from paradp.policy.spec import Interface
from paradp.policy.values import numbers

Observation = Mapping[str, np.ndarray]
Index = int | slice | list[int] | np.ndarray


def read_observation(spec: Interface, observation: Observation) -> dict[str, np.ndarray]:
    """Reads an environment's observation for a policy: its features in order, as copies.

    Raises:
        ValueError: as `read_features`.
    """
    return read_features(spec.observed, observation, "the policy was trained with")


def read_features(features: Mapping[str, Feature], observation: Observation, who: str) -> dict[str, np.ndarray]:
    """Reads features from an observation, as copies in the features' order.

    Args:
        who: says for messages whose features they are, such as "the policy was trained with".

    Raises:
        ValueError: a key is missing, has the wrong shape, or values that are not finite real numbers; an image is not uint8.
    """
    if not isinstance(observation, Mapping):
        raise ValueError(f"an observation must map keys to arrays of numbers; this is a {type(observation).__name__}")
    read = {}
    for key, feature in features.items():
        if key not in observation:
            raise ValueError(f"the observation lacks {key!r}; it has: {', '.join(map(str, observation)) or 'nothing'}")
        read[key] = part = as_feature(key, feature, observation[key])
        if part.shape != feature.shape:
            raise ValueError(
                f"the observation's {key!r} has shape {part.shape}, {who} {feature.shape}{hint(feature, part.shape)}"
            )
    check_finite(read)
    return read


def as_feature(key: str, feature: Feature, value: object) -> np.ndarray:
    """Converts a value to an array of a feature's dtype, of any shape, as a copy.

    Raises:
        ValueError: it is not an array of numbers, or an image is not uint8; the message names the key.
    """
    if feature.kind != "image":
        return numbers(repr(key), value)
    try:
        array = np.array(value)
    except (ValueError, TypeError, RuntimeError):  # a ragged list, or a tensor on another device
        raise ValueError(f"{key!r} is an image and must be an array, not a {type(value).__name__}") from None
    if array.dtype != feature.dtype:
        scaled = ": whole numbers from 0 to 255, not scaled" if array.dtype.kind == "f" else ""
        raise ValueError(f"{key!r} is an image and must be of dtype uint8, not {array.dtype}{scaled}")
    return array


def hint(feature: Feature, shape: tuple[int, ...]) -> str:
    """Advice for an image of another shape, to end a message; empty for anything else."""
    if feature.kind != "image":
        return ""
    height, width, channels = feature.shape
    if shape[-3:] == (channels, height, width):
        return "; its channels come first, and should come last: array.transpose(1, 2, 0)"
    return " (height, width, channels)"


def check_finite(observation: Observation) -> None:
    """Raises:
    ValueError: a number is not finite; the message names its key.
    """
    for key, part in observation.items():
        if part.dtype.kind == "f" and not np.isfinite(part).all():
            raise ValueError(f"the observation's {key!r} is not finite: {part}")


def stack(observations: Sequence[Observation]) -> dict[str, np.ndarray]:
    """Stacks observations of the same features along a new first axis."""
    return {key: np.stack([one[key] for one in observations]) for key in observations[0]}


def take(observations: Observation, index: Index) -> dict[str, np.ndarray]:
    """Selects some along the first axis."""
    return {key: part[index] for key, part in observations.items()}


def repeated(observations: Observation, times: int) -> dict[str, np.ndarray]:
    """Repeats each several times along the first axis."""
    return {key: np.repeat(part, times, 0) for key, part in observations.items()}


def how_many(observations: Observation) -> int:
    """The length of the first axis."""
    return len(next(iter(observations.values())))


def blank(spec: Interface, *before: int) -> dict[str, np.ndarray]:
    """Makes observations of zeros, with the given axes before those of the features."""
    return {key: np.zeros((*before, *feature.shape), feature.dtype) for key, feature in spec.observed.items()}

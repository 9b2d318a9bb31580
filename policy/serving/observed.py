"""Finds a policy's observation in a client's message: under whose names, and in which forms, it may come.

A feature comes under its own name, or under that of openpi's or LeRobot's clients: `observation/image`,
`{"observation": {"images": {"front": …}}}` and `observation.images.front` are the features `image` and `front`. What stands
before the last part, `observation` and `images`, does not count. Of names that differ in nothing else only a feature's own
name is understood.

An image is uint8 `[H, W, C]` or `[To, H, W, C]`, a list of To arrays, or JPEG: the bytes of a file, or a list of To of them.
JPEG's colours are taken as RGB.
"""

import re
from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy as np

from paradp.policy.errors import printable
from paradp.policy.features import Feature
from paradp.policy.files.pictures import decoded
from paradp.policy.observations import as_feature, hint
from paradp.policy.serving.wire import MOST_VALUE_BYTES, Message
from paradp.policy.spec import Interface

# Maps of a message whose values are found by their names in them.
OPENED = ("observation", "observation/images", "images")
_PREFIXES = ("observation", "images")
# Other values of a message, such as pictures that this policy does not look at: thirteen of 224 × 224.
_OTHER_BYTES = 2**21
_MOST_NAMED = 8


class Names:
    """The names under which a policy's features may come.

    Args:
        features: the features of an observation.
    """

    def __init__(self, features: Iterable[str]):
        self._features = list(features)
        times = Counter(map(_short, self._features))
        self._shorter = {_short(key): key for key in self._features if times[_short(key)] == 1}

    def find(self, sent: Iterable[str]) -> dict[str, str]:
        """The name under which each feature was sent, its own before any other.

        Raises:
            ValueError: a feature is missing, or was sent twice under other names than its own.
        """
        names = list(sent)
        found = {key: key for key in self._features if key in names}
        others: dict[str, str] = {}
        for name in names:
            key = self._shorter.get(_short(name))
            if key is None or key in found:
                continue
            if key in others:
                raise ValueError(f"the observation's {key!r} comes twice, as {others[key]!r} and as {name!r}")
            others[key] = name
        found |= others
        for key in self._features:
            if key not in found:
                raise ValueError(f"the observation lacks {key!r}; it has: {listed(names) or 'nothing'}")
        return found


def _short(name: str) -> str:
    """A name without what clients put before it."""
    parts = re.split("[/.]", name)
    while len(parts) > 1 and parts[0] in _PREFIXES:
        parts.pop(0)
    return "/".join(parts)


def listed(names: Iterable[str]) -> str:
    """The names that somebody sent, as shown in a message."""
    first = [printable(name[:80]) for name in names]
    return ", ".join(first[:_MOST_NAMED]) + f" and {len(first) - _MOST_NAMED} more" * (len(first) > _MOST_NAMED)


def read_feature(message: Message, name: str, key: str, feature: Feature, observe: int) -> np.ndarray:
    """One feature of a message, `[*shape]` or `[To, *shape]`.

    Args:
        message: the message.
        name: the feature's name in it.
        key: the feature's own name.
        feature: its kind and shape.
        observe: To.

    Raises:
        ValueError: it cannot be read, or has another shape or type; the error names it.
    """
    image = feature.kind == "image"
    # An image of another size is refused by its shape, which says more than its bytes.
    value = message.value(name, None if image else MOST_VALUE_BYTES)
    array = as_feature(key, feature, _frames(key, feature, value, observe) if image else value)
    if array.shape not in (feature.shape, (observe, *feature.shape)):
        raise ValueError(
            f"the observation's {key!r} has shape {array.shape}; it is {(observe, *feature.shape)}, or {feature.shape} in"
            f" every control step{hint(feature, array.shape)}"
        )
    return array


def announced(spec: Interface) -> dict[str, dict[str, Any]]:
    """The description of an observation's features in a server's metadata."""
    return {key: _announced(feature, spec.horizons.observe) for key, feature in spec.observed.items()}


def message_limit(spec: Interface) -> int:
    """The size of messages that a policy's server reads unless another is set: enough for all its observed images."""
    images = [feature.size for feature in spec.observed.values() if feature.kind == "image"]
    return _OTHER_BYTES + spec.horizons.observe * sum(images)


def _announced(feature: Feature, observe: int) -> dict[str, Any]:
    found = {"shape": [observe, *feature.shape], "dtype": feature.dtype.name}
    if feature.kind == "image":
        found |= {"encodings": ["array", "jpeg"], "layout": "height, width, channels"}
    return found


def _frames(key: str, feature: Feature, value: object, observe: int) -> object:
    """The pixels of what is JPEG; arrays as they are. Of other values numpy would make arrays of any size: it pads texts."""
    if (content := _file(value)) is not None:
        return _pixels(key, feature, content)
    if isinstance(value, np.ndarray):
        return value
    if not isinstance(value, list):
        raise ValueError(f"{key!r} is an image and must be of dtype uint8, or JPEG, not a {type(value).__name__}")
    contents = [content for one in value if (content := _file(one)) is not None]
    if not contents or len(contents) < len(value):
        return _alike(key, feature, value)
    if len(contents) != observe:
        raise ValueError(f"the observation's {key!r} has {len(contents)} JPEG frames; {observe} are observed")
    return np.stack([_pixels(key, feature, content) for content in contents])


def _alike(key: str, feature: Feature, value: list[Any]) -> Any:
    """A list of frames, all of them arrays; the first of another dtype alone, so that it is the one that is refused."""
    for one in value:
        if not isinstance(one, np.ndarray):
            raise ValueError(
                f"{key!r} is a list of images, of which each must be an array or JPEG, not a {type(one).__name__}"
            )
    return next((one for one in value if one.dtype != feature.dtype), value)


def _file(value: object) -> bytes | None:
    """The bytes of a file, also as the array that OpenCV encodes to; `None` for what is none."""
    if isinstance(value, np.ndarray) and value.ndim == 1 and value.dtype == np.uint8:
        return value.tobytes()
    return value if isinstance(value, bytes) else None


def _pixels(key: str, feature: Feature, content: bytes) -> np.ndarray:
    try:
        return decoded(content, feature.shape, ("JPEG",))
    except ValueError as error:
        raise ValueError(f"{key!r} cannot be read: {error}") from error

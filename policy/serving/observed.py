"""Finds a policy's observation in a client's message, by several names and in several formats.

A feature may have its own name or that of openpi's and LeRobot's clients: `observation/image` is the feature `image`, and
`{"observation": {"images": {"front": …}}}` and `observation.images.front` are the feature `front`: the prefixes
`observation` and `images` are ignored. If two features of a policy differ only in such prefixes, only their full names are
accepted.

An image is uint8 `[H, W, C]` or `[To, H, W, C]`, a list of To arrays, or JPEG: the bytes of a file, or a list of To of them.
The decoded colours of JPEG are RGB.
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

# Maps of a message in which features are looked for.
OPENED = ("observation", "observation/images", "images")
_PREFIXES = ("observation", "images")
# Space in a message for values that the policy ignores, such as thirteen pictures of 224 × 224.
_OTHER_BYTES = 2**21
_MOST_NAMED = 8


class Names:
    """The accepted names of a policy's features.

    Args:
        features: the features of an observation.
    """

    def __init__(self, features: Iterable[str]):
        self._features = list(features)
        times = Counter(map(_short, self._features))
        self._shorter = {_short(key): key for key in self._features if times[_short(key)] == 1}

    def find(self, sent: Iterable[str]) -> dict[str, str]:
        """Returns the name under which each feature was sent; the feature's own name has priority.

        Raises:
            ValueError: a feature is missing, or was sent twice and neither name is its own.
        """
        names = list(sent)
        found = {key: key for key in self._features if key in names}
        others: dict[str, str] = {}
        for name in names:
            key = self._shorter.get(_short(name))
            if key is None or key in found:
                continue
            if key in others:
                raise ValueError(f"the observation's {key!r} was sent twice, as {others[key]!r} and as {name!r}")
            others[key] = name
        found |= others
        for key in self._features:
            if key not in found:
                raise ValueError(f"the observation lacks {key!r}; it has: {listed(names) or 'nothing'}")
        return found


def _short(name: str) -> str:
    """Removes the prefixes of a name."""
    parts = re.split("[/.]", name)
    while len(parts) > 1 and parts[0] in _PREFIXES:
        parts.pop(0)
    return "/".join(parts)


def listed(names: Iterable[str]) -> str:
    """Lists sent names for a message."""
    first = [printable(name[:80]) for name in names]
    return ", ".join(first[:_MOST_NAMED]) + f" and {len(first) - _MOST_NAMED} more" * (len(first) > _MOST_NAMED)


def read_feature(message: Message, name: str, key: str, feature: Feature, observe: int) -> np.ndarray:
    """Reads one feature of a message, `[*shape]` or `[To, *shape]`.

    Args:
        message: the message.
        name: the feature's name in the message.
        key: the feature's own name.
        feature: kind and shape of the feature.
        observe: To.

    Raises:
        ValueError: the feature cannot be read, or has the wrong shape or type; the error names it.
    """
    image = feature.kind == "image"
    # No limit in bytes for images: one of another size is refused for its shape, which makes a clearer message.
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
    """The default size limit of messages to a policy's server: enough for all its observed images."""
    images = [feature.size for feature in spec.observed.values() if feature.kind == "image"]
    return _OTHER_BYTES + spec.horizons.observe * sum(images)


def _announced(feature: Feature, observe: int) -> dict[str, Any]:
    found = {"shape": [observe, *feature.shape], "dtype": feature.dtype.name}
    if feature.kind == "image":
        found |= {"encodings": ["array", "jpeg"], "layout": "height, width, channels"}
    return found


def _frames(key: str, feature: Feature, value: object, observe: int) -> object:
    """Decodes JPEG, and returns arrays unchanged. Refuses other values: numpy pads texts, which could take any memory."""
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
    """Returns a list of arrays; if one has another dtype, only that one, so that the error message is about it."""
    for one in value:
        if not isinstance(one, np.ndarray):
            raise ValueError(
                f"{key!r} is a list of images, of which each must be an array or JPEG, not a {type(one).__name__}"
            )
    return next((one for one in value if one.dtype != feature.dtype), value)


def _file(value: object) -> bytes | None:
    """Returns the bytes of a file, also from the array that OpenCV's encoder returns; `None` for other values."""
    if isinstance(value, np.ndarray) and value.ndim == 1 and value.dtype == np.uint8:
        return value.tobytes()
    return value if isinstance(value, bytes) else None


def _pixels(key: str, feature: Feature, content: bytes) -> np.ndarray:
    try:
        return decoded(content, feature.shape, ("JPEG",))
    except ValueError as error:
        raise ValueError(f"{key!r} cannot be read: {error}") from error

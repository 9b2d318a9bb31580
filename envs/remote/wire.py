"""Messages to and from a simulator process through pipes: a JSON object and numeric arrays. No pickle is used.

magic      4 bytes
document   length in 4 bytes, then a JSON object; its entry "arrays" lists name, type and shape of each array
arrays     total length in 8 bytes, then the values of each array in turn
"""

import json
import math
from collections.abc import Mapping
from struct import Struct
from typing import IO, Any

import numpy as np

Arrays = dict[str, np.ndarray]
MAGIC = b"pde1"
_HEADER = Struct("<4sIQ")
_TYPES = ("bool", "float32", "float64", "uint8")
MOST_DOCUMENT_BYTES, MOST_ARRAY_BYTES = 2**20, 2**31
_MOST_DIMENSIONS = 8
_LISTED = "arrays"


def packed(document: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> bytes:
    """Encodes a message.

    Raises:
        ValueError: an array's type is not bool, float32, float64 or uint8, or the message is too large.
    """
    for name, array in arrays.items():
        if array.dtype.name not in _TYPES:
            raise ValueError(f"{name!r} is an array of {array.dtype}; supported types: {', '.join(_TYPES)}")
    listed = [[name, array.dtype.name, list(array.shape)] for name, array in arrays.items()]
    said = json.dumps({**document, _LISTED: listed}).encode()
    numbers = b"".join(array.tobytes() for array in arrays.values())
    _check_sizes(len(said), len(numbers))
    return _HEADER.pack(MAGIC, len(said), len(numbers)) + said + numbers


def write(pipe: IO[bytes], message: bytes) -> None:
    """Sends a message.

    Raises:
        OSError: the other process has closed the pipe.
    """
    pipe.write(message)
    pipe.flush()


def read(pipe: IO[bytes]) -> tuple[dict[str, Any], Arrays] | None:
    """Receives a message; returns `None` when the other process has closed the pipe.

    Raises:
        ValueError: the data are not a message, are cut short, or too large; sizes are checked before memory is allocated.
    """
    header = pipe.read(_HEADER.size)
    if not header:
        return None
    if len(header) < _HEADER.size or header[:4] != MAGIC:
        raise ValueError(f"this is not a message of a simulator: it begins with {header[:4]!r}")
    _, said, numbers = _HEADER.unpack(header)
    _check_sizes(said, numbers)
    document = _document(_exactly(pipe, said))
    return document, _arrays(document.pop(_LISTED, None), _exactly(pipe, numbers))


def _check_sizes(said: int, numbers: int) -> None:
    if said > MOST_DOCUMENT_BYTES or numbers > MOST_ARRAY_BYTES:
        raise ValueError(
            f"a message has {said} bytes of text and {numbers} bytes of arrays; the limits are {MOST_DOCUMENT_BYTES} and"
            f" {MOST_ARRAY_BYTES}"
        )


def _exactly(pipe: IO[bytes], count: int) -> bytes:
    found = pipe.read(count)
    if len(found) < count:
        raise ValueError(f"a message is cut short: {len(found)} of {count} bytes received")
    return found


def _document(data: bytes) -> dict[str, Any]:
    try:
        found = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"a message is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise ValueError("a message is not a JSON object")
    return found


def _arrays(listed: Any, data: bytes) -> Arrays:
    if not isinstance(listed, list):
        raise ValueError("a message does not list its arrays")
    found, start = {}, 0
    for one in listed:
        name, dtype, shape = _described(one)
        size = math.prod(shape) * dtype.itemsize
        if start + size > len(data):
            raise ValueError(f"the array {name!r} is longer than the message")
        found[name] = np.frombuffer(data, dtype, math.prod(shape), start).reshape(shape)
        start += size
    if start != len(data):
        raise ValueError(f"a message has {len(data) - start} more bytes after its arrays")
    return found


def _described(one: Any) -> tuple[str, np.dtype, tuple[int, ...]]:
    match one:
        case [str(name), str(kind), list(shape)] if kind in _TYPES and len(shape) <= _MOST_DIMENSIONS:
            if all(type(length) is int and length >= 0 for length in shape):
                return name, np.dtype(kind), tuple(shape)
    raise ValueError(f"a message has an invalid description of an array: {str(one)[:80]}")

"""Arrays in msgpack, as openpi's client and server speak it. Reading executes nothing, and nothing is pickled."""

import math
import re
from dataclasses import dataclass
from typing import Any

import msgpack
import numpy as np

# Booleans, whole numbers and floats of at most eight bytes; never objects, strings, records.
_DTYPE = re.compile(r"[<>|=]?(b1|[iu][1248]|f[248])")
_MOST_DIMENSIONS = 8
# Of a list or map; arrays have their own way to be sent.
_MOST_VALUES = 4096


def pack(message: dict[str, Any]) -> bytes:
    """A message as bytes.

    Raises:
        TypeError: it holds what is neither number, text, bytes, list, dict nor an array of numbers.
    """
    return msgpack.packb(message, default=_pack_array)


def unpack(data: bytes) -> dict[Any, Any]:
    """A message from bytes that anyone may have sent.

    Raises:
        ValueError: it is no message; says what is wrong.
    """
    try:
        message = msgpack.unpackb(data, object_hook=_unpack_array, max_array_len=_MOST_VALUES, max_map_len=_MOST_VALUES)
    except ValueError as error:  # msgpack's own errors are of this kind
        raise ValueError(f"the message cannot be read: {error}") from error
    except (TypeError, OverflowError, RecursionError) as error:
        raise ValueError(f"the message cannot be read: {type(error).__name__}: {error}") from error
    if isinstance(message, _Malformed):
        raise ValueError(f"a message is a map of names to values, not an array; {message.why}")
    if not isinstance(message, dict):
        raise ValueError(f"a message is a map of names to values, not a {type(message).__name__}")
    for name, value in message.items():
        if isinstance(value, _Malformed):
            raise ValueError(f"{name!r} cannot be read: {value.why}")
    return message


@dataclass(frozen=True)
class _Malformed:
    """In the place of an array that is none: who reads it knows its name."""

    why: str


def _pack_array(value: object) -> object:
    if isinstance(value, np.ndarray) and _DTYPE.fullmatch(value.dtype.str):
        return {b"__ndarray__": True, b"data": value.tobytes(), b"dtype": value.dtype.str, b"shape": value.shape}
    if isinstance(value, np.generic) and _DTYPE.fullmatch(value.dtype.str):
        return {b"__npgeneric__": True, b"data": value.item(), b"dtype": value.dtype.str}
    raise TypeError(f"cannot send a {type(value).__name__}: {value!r}")


def _unpack_array(value: dict[Any, Any]) -> Any:
    try:
        if b"__ndarray__" in value:
            return _array(value.get(b"data"), _dtype(value), value.get(b"shape"))
        if b"__npgeneric__" in value:
            if not isinstance(number := value.get(b"data"), bool | int | float):
                raise ValueError(f"a number's data is a {type(number).__name__}")
            return _dtype(value).type(number)
    except (ValueError, OverflowError) as error:
        return _Malformed(str(error))
    return value


def _dtype(value: dict[Any, Any]) -> np.dtype:
    name = value.get(b"dtype")
    if not isinstance(name, str) or not _DTYPE.fullmatch(name):
        raise ValueError(f"an array's dtype must be one of numbers, such as '<f4', not {str(name)[:40]!r}")
    return np.dtype(name)


def _array(data: object, dtype: np.dtype, shape: object) -> np.ndarray:
    if not isinstance(data, bytes):
        raise ValueError(f"an array's data is a {type(data).__name__} and not bytes")
    if not isinstance(shape, list | tuple) or len(shape) > _MOST_DIMENSIONS:
        raise ValueError(f"an array's shape must be a list of at most {_MOST_DIMENSIONS} lengths")
    if not all(type(length) is int and length >= 0 for length in shape):
        raise ValueError("an array's shape must be whole numbers from 0 on")
    if math.prod(shape) * dtype.itemsize != len(data):
        raise ValueError(f"an array of shape {tuple(shape)} and dtype {dtype.str} has {len(data)} bytes of data")
    return np.frombuffer(data, dtype).reshape(shape)

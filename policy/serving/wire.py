"""Messages with arrays as msgpack, in the format of openpi's client and server. No pickle: reading executes no code."""

import math
import re
from collections.abc import Container, Iterator
from contextlib import contextmanager
from typing import Any

import msgpack
import numpy as np

from paradp.policy.wording import counted

# Booleans, whole numbers and floats of at most eight bytes; never objects, strings, records.
_DTYPE = re.compile(r"[<>|=]?(b1|[iu][1248]|f[248])")
_MOST_DIMENSIONS = 8
# Largest length of a list or map. Arrays are encoded separately, and may be longer.
_MOST_VALUES = 4096
# Largest size of a key, and of a value. A malicious value can need seventy times its size in memory once unpacked.
_MOST_NAME_BYTES = 1024
MOST_VALUE_BYTES = 2**18
# Largest number of values in a message, nested lists included: each becomes a Python object, which takes time.
_MOST_VALUES_IN_ALL = 2**15


def pack(message: dict[str, Any]) -> bytes:
    """Encodes a message.

    Raises:
        TypeError: a value is not a number, text, bytes, list, dict or numeric array.
    """
    return msgpack.packb(message, default=_pack_array)


def unpack(data: bytes, wanted: Container[str] | None = None) -> dict[str, Any]:
    """Decodes a message. The bytes may come from an untrusted sender.

    Args:
        data: the bytes.
        wanted: the keys to decode, all by default. Values of other keys are skipped without unpacking them.

    Raises:
        ValueError: the bytes are not a message, or a wanted value cannot be decoded; the message gives the reason.
    """
    message = Message(data)
    return {name: message.value(name) for name in message.names if wanted is None or name in wanted}


class Message:
    """A message from an untrusted sender, whose values are decoded separately, on request.

    Args:
        data: the bytes.
        opened: names whose maps are opened: the values in the map `images` in the map `observation` are named
            `observation/images/…`, if both `observation` and `observation/images` are opened.

    Attributes:
        names: the keys.

    Raises:
        ValueError: the bytes are not a message; the error gives the reason.
    """

    def __init__(self, data: bytes, opened: Container[str] = ()):
        self._values: dict[str, memoryview] = {}
        self._allowance = _Allowance()
        with _told():
            self._values = dict(_entries(memoryview(data), opened))
        self.names = list(self._values)

    def value(self, name: str, most_bytes: int | None = MOST_VALUE_BYTES) -> Any:
        """Decodes a value.

        Args:
            name: its key.
            most_bytes: size limit; `None` for that of the message, and for any count of numbers in a list of arrays.

        Raises:
            ValueError: it cannot be decoded; the error names it and gives the reason.
        """
        with _told():
            return _value(name, self._values[name], self._allowance, most_bytes)


@contextmanager
def _told() -> Iterator[None]:
    """Turns errors of reading a message to a `ValueError` that says so."""
    try:
        yield
    except _Unreadable as error:
        raise ValueError(str(error)) from error.__cause__
    except (ValueError, TypeError, OverflowError, RecursionError, msgpack.UnpackException) as error:
        raise ValueError(f"the message cannot be read: {_why(error)}") from error


class _Unreadable(Exception):
    """An error whose text is a complete message for the user."""


def _why(error: Exception) -> str:
    """The reason for an error. msgpack's own exceptions have no text."""
    match error:
        case msgpack.StackError():
            return "lists or maps in it are nested too deeply"
        case msgpack.OutOfData():
            return "it ends too early"
        case msgpack.FormatError():
            return "it is not msgpack"
    return str(error) or type(error).__name__


class _Allowance:
    """Counts the values that may still be unpacked from a message."""

    def __init__(self) -> None:
        self._left = _MOST_VALUES_IN_ALL
        self.in_arrays = 0

    def take(self, count: int) -> None:
        self._left -= count
        if self._left < 0:
            raise ValueError(f"more than {_MOST_VALUES_IN_ALL} values of the message are in lists and maps; send arrays")

    def of_list(self, value: list[Any]) -> list[Any]:
        self.take(1 + len(value))
        return value

    def of_map(self, pairs: list[tuple[Any, Any]]) -> Any:
        self.take(1 + len(pairs))
        value = _unpack_array(dict(pairs))
        self.in_arrays += value.size if isinstance(value, np.ndarray) else 0
        return value


def _entries(data: memoryview, opened: Container[str], before: str = "") -> Iterator[tuple[str, memoryview]]:
    """The names, each after `before`, and the bytes of the values in a map."""
    reader = msgpack.Unpacker(max_buffer_size=max(len(data), 1))
    reader.feed(data)
    for _ in range(_read_header(reader, data)):
        name, value = _name(_skip(reader, data)), _skip(reader, data)
        if name is None:
            continue
        if (name := before + name) in opened and _is_map(value):
            yield from _entries(value, opened, f"{name}/")
        else:
            yield name, value
    if reader.tell() != len(data):
        raise ValueError(f"after it there is more: {counted(len(data) - reader.tell(), 'byte')}")


def _is_map(value: memoryview) -> bool:
    return 0x80 <= value[0] <= 0x8F or value[0] in (0xDE, 0xDF)


def _read_header(reader: msgpack.Unpacker, data: memoryview) -> int:
    """The number of keys in a message."""
    try:
        count = reader.read_map_header()
    except ValueError as error:
        kind = f"it begins with byte {data[0]:#04x}"
        raise _Unreadable(f"the message cannot be read: a message is a map of names to values; {kind}") from error
    if count > _MOST_VALUES:
        raise _Unreadable(f"the message cannot be read: it has {count} keys; at most {_MOST_VALUES} are read")
    return count


def _skip(reader: msgpack.Unpacker, data: memoryview) -> memoryview:
    """The bytes of the next value, without unpacking it."""
    start = reader.tell()
    reader.skip()
    return data[start : reader.tell()]


def _name(data: memoryview) -> str | None:
    """Decodes a key; `None` if it is not text, or too long."""
    if len(data) > _MOST_NAME_BYTES:
        return None
    try:
        name = msgpack.unpackb(data)
    except (ValueError, TypeError):  # such as a list as the key of a map
        return None
    return name if isinstance(name, str) else None


def _value(name: str, data: memoryview, allowance: _Allowance, most_bytes: int | None) -> Any:
    if most_bytes is not None and len(data) > most_bytes:
        raise _Unreadable(f"{name!r} cannot be read: it has {len(data)} bytes, more than {most_bytes}")
    try:
        allowance.in_arrays = 0
        value = msgpack.unpackb(
            data,
            list_hook=allowance.of_list,
            object_pairs_hook=allowance.of_map,
            max_array_len=_MOST_VALUES,
            max_map_len=_MOST_VALUES,
        )
        if most_bytes is not None and not isinstance(value, np.ndarray):
            # Every number in a list of arrays is checked, so these numbers count as well; pixels of images do not.
            allowance.take(allowance.in_arrays)
    except (ValueError, TypeError, OverflowError, RecursionError, msgpack.UnpackException) as error:
        raise _Unreadable(f"{name!r} cannot be read: {_why(error)}") from error
    return value


def _pack_array(value: object) -> object:
    if isinstance(value, np.ndarray) and _DTYPE.fullmatch(value.dtype.str):
        return {b"__ndarray__": True, b"data": value.tobytes(), b"dtype": value.dtype.str, b"shape": value.shape}
    if isinstance(value, np.generic) and _DTYPE.fullmatch(value.dtype.str):
        return {b"__npgeneric__": True, b"data": value.item(), b"dtype": value.dtype.str}
    raise TypeError(f"cannot send a {type(value).__name__}: {value!r}")


def _unpack_array(value: dict[Any, Any]) -> Any:
    if b"__ndarray__" in value:
        return _array(value.get(b"data"), _dtype(value), value.get(b"shape"))
    if b"__npgeneric__" in value:
        return _number(value.get(b"data"), _dtype(value))
    return value


def _dtype(value: dict[Any, Any]) -> np.dtype:
    name = value.get(b"dtype")
    if not isinstance(name, str) or not _DTYPE.fullmatch(name):
        raise ValueError(f"an array's dtype must be one of numbers, such as '<f4', not {str(name)[:40]!r}")
    return np.dtype(name)


def _number(data: object, dtype: np.dtype) -> np.generic:
    """Converts a number to its dtype, and refuses values that would be rounded to integers, overflow or become booleans."""
    allowed = {"b": bool, "f": int | float}.get(dtype.kind, int)
    if not isinstance(data, allowed) or isinstance(data, bool) != (dtype.kind == "b"):
        raise ValueError(f"a number's data is a {type(data).__name__}, its dtype {dtype.str}")
    if dtype.kind in "iu" and not np.iinfo(dtype).min <= data <= np.iinfo(dtype).max:
        raise ValueError(f"{data} is not a number of dtype {dtype.str}")
    with np.errstate(over="ignore"):
        return dtype.type(data)


def _array(data: object, dtype: np.dtype, shape: object) -> np.ndarray:
    if not isinstance(data, bytes):
        raise ValueError(f"an array's data is a {type(data).__name__} and not bytes")
    if not isinstance(shape, list | tuple) or len(shape) > _MOST_DIMENSIONS:
        raise ValueError(f"an array's shape must be a list of at most {_MOST_DIMENSIONS} lengths")
    if not all(type(length) is int and length >= 0 for length in shape):
        raise ValueError("an array's shape must be whole numbers from 0 on")
    if math.prod(shape) * dtype.itemsize != len(data):
        raise ValueError(f"an array of shape {tuple(shape)} and dtype {dtype.str} has {counted(len(data), 'byte')} of data")
    return np.frombuffer(data, dtype).reshape(shape)

"""Reading small files from outside: a regular file, no larger than it may be, and JSON that is nothing but JSON."""

import errno
import hashlib
import json
import math
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from paradp.policy.files.limits import JSON_DEPTH, JSON_VALUES

_ZEROS = bytes(2**20)

T = TypeVar("T")


@contextmanager
def open_regular(path: Path, most_bytes: int, inside: bool = True) -> Iterator[tuple[BufferedReader, int]]:
    """Opens a file from outside: the file and its size in bytes.

    Args:
        path: the file.
        most_bytes: how large it may be.
        inside: the file is part of a folder from outside, and must not be a link that leads out of it. A file that the user
            named may be a link.

    Raises:
        ValueError: it is no regular file (but a folder, a pipe, a device), leads out of its folder, or is too large.
        OSError: it is not there or may not be read.
    """
    try:
        if inside and not path.resolve().is_relative_to(path.parent.resolve()):
            raise ValueError(f"{path} is a link that leads out of its folder; put the file itself there")
        # Without O_NONBLOCK a pipe would be waited for.
        file = open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK))  # noqa: SIM115
    except (IsADirectoryError, RuntimeError):  # the second: links in a circle
        raise ValueError(f"{path} is not a regular file") from None
    with file:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode):
            raise ValueError(f"{path} is not a regular file")
        if found.st_size > most_bytes:
            raise ValueError(f"{path} has {found.st_size} bytes; at most {most_bytes} are read")
        yield file, found.st_size


def read_bytes(path: Path, most_bytes: int, inside: bool = True) -> bytes:
    """The content of a file; arguments and errors as of `open_regular`."""
    with open_regular(path, most_bytes, inside) as (file, size):
        return file.read(size)


def read_text(path: Path, most_bytes: int, inside: bool = True) -> str:
    """The content of a text file; arguments and errors as of `open_regular`, and a ValueError if it is not UTF-8."""
    try:
        return read_bytes(path, most_bytes, inside).decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not text: {error}") from error


def sha256(path: Path, most_bytes: int, inside: bool = True) -> str:
    """The digest of a file, read piece by piece; arguments and errors as of `open_regular`."""
    with open_regular(path, most_bytes, inside) as (file, _):
        return digest(file)


def digest(file: BufferedReader) -> str:
    """The SHA-256 of an open file. Holes are not read: a sparse file may claim any length and take no place."""
    found, number = hashlib.sha256(), file.fileno()
    size, at = os.fstat(number).st_size, 0
    while at < size:
        begin, end = _next_data(number, at, size)
        for start in range(at, begin, len(_ZEROS)):
            found.update(_ZEROS[: begin - start])
        file.seek(begin)
        while begin < end and (piece := file.read(min(len(_ZEROS), end - begin))):
            found.update(piece)
            begin += len(piece)
        at = end
    return found.hexdigest()


def _next_data(number: int, at: int, size: int) -> tuple[int, int]:
    """Where the next bytes that are stored begin and end, from a place on; both are `size` where none are left."""
    if not hasattr(os, "SEEK_DATA"):
        return at, size
    try:
        begin = os.lseek(number, at, os.SEEK_DATA)
        return begin, os.lseek(number, begin, os.SEEK_HOLE)
    except OSError as error:
        if error.errno == errno.ENXIO:  # nothing but a hole up to the end
            return size, size
        return at, size  # a file system without this information


def parse_json(content: str | bytes, constants: bool = False) -> Any:
    """JSON by the letter of its standard: UTF-8, no NaN or Infinity, no key twice; and neither deep nor of too many values.

    Numbers fit into 64 bits: a larger one would be read as infinite, or fit into no array.

    Args:
        content: the text.
        constants: read NaN and Infinity all the same, which Python's own writer puts there.

    Raises:
        ValueError: it is not that.
    """
    text = content.decode() if isinstance(content, bytes) else content
    if sum(map(text.count, ",[{")) > JSON_VALUES:
        raise ValueError(f"it holds more than {JSON_VALUES} values")
    try:
        value = json.loads(
            text,
            object_pairs_hook=_without_doubles,
            parse_float=_finite,
            parse_int=_whole,
            parse_constant=float if constants else _refuse_constant,
        )
    except RecursionError:
        raise ValueError(f"it is nested more than {JSON_DEPTH} deep") from None
    _check_depth(value)
    if "\\ud" in text.lower():
        # Half a character can be escaped, and neither be printed nor be part of a file's name.
        json.dumps(value, ensure_ascii=False).encode()
    return value


def read_json(path: Path, most_bytes: int) -> Any:
    """What a JSON file says.

    Raises:
        ValueError: the file or what it holds is not as it should be; the message names the file.
        OSError: it is not there or may not be read.
    """
    content = read_bytes(path, most_bytes)
    try:
        return parse_json(content)
    except ValueError as error:
        raise ValueError(f"{path} cannot be read: {error}") from error


def read_object(path: Path, most_bytes: int) -> dict[str, Any]:
    """What a JSON file says that should hold an object; errors as of `read_json`."""
    value = read_json(path, most_bytes)
    if not isinstance(value, dict):
        raise ValueError(f"{path} cannot be read: it holds {_kind(value)}, not an object")
    return value


def read_validated(path: Path, most_bytes: int, adapter: TypeAdapter[T]) -> T:
    """What a JSON file says, as the type of `adapter`; errors as of `read_json`."""
    value = read_json(path, most_bytes)
    try:
        return adapter.validate_python(value)
    except ValidationError as error:
        raise ValueError(f"{path} cannot be read: {first_problem(error)}") from error


def first_problem(error: ValidationError) -> str:
    """One line on what a file got wrong: where and what."""
    problem = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in problem["loc"])
    message = problem["msg"].removeprefix("Value error, ")
    return f"{where}: {message}" if where else message


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Readers disagree on which of two equal keys counts: a file could be checked as one thing and used as another."""
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"the key {key!r:.80} is there twice")
        found[key] = value
    return found


def _finite(text: str) -> float:
    if math.isinf(value := float(text)):
        raise ValueError(f"the number {text:.20} is too large")
    return value


def _whole(text: str) -> int:
    # The length first: a number of many digits takes long to read.
    if len(text) > 20 or not -(2**63) <= (value := int(text)) < 2**64:
        raise ValueError(f"the number {text:.20} is too large")
    return value


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no number of JSON")


def _check_depth(value: Any) -> None:
    level, depth = [value], 0
    while outer := [entry for entry in level if isinstance(entry, dict | list)]:
        depth += 1
        if depth > JSON_DEPTH:
            raise ValueError(f"it is nested more than {JSON_DEPTH} deep")
        level = [inner for entry in outer for inner in (entry.values() if isinstance(entry, dict) else entry)]


def _kind(value: Any) -> str:
    kinds = {list: "a list", str: "a text", bool: "a truth value", int: "a number", float: "a number"}
    return kinds.get(type(value), "nothing")

"""Reads small untrusted files: only regular files up to a size limit, and only strictly valid JSON."""

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
def open_regular(
    path: Path, most_bytes: int, inside: bool = True, root: Path | None = None
) -> Iterator[tuple[BufferedReader, int]]:
    """Opens an untrusted file; yields the file and its size in bytes.

    Args:
        path: the file.
        most_bytes: size limit.
        inside: refuse a link that leads out of the file's folder. False only for a file that the user named, which may be a
            link.
        root: the folder that it must not lead out of, neither by a link nor by `..`; by default the folder that it is in.

    Raises:
        ValueError: it is not a regular file (but a folder, pipe or device), leads out of `root`, or is too large.
        OSError: the file is missing or cannot be read.
    """
    try:
        if inside:
            check_inside(path, root)
        # Without O_NONBLOCK, opening a pipe would wait for a writer.
        file = open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK))  # noqa: SIM115
    except (IsADirectoryError, RuntimeError):  # RuntimeError: links in a circle
        raise ValueError(f"{path} is not a regular file") from None
    with file:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode):
            raise ValueError(f"{path} is not a regular file")
        if found.st_size > most_bytes:
            raise ValueError(f"{path} has {found.st_size} bytes; at most {most_bytes} are read")
        yield file, found.st_size


def check_inside(path: Path, root: Path | None = None) -> None:
    """Checks that a file lies in a folder, by default the one that its path names.

    Raises:
        ValueError: the file, or a folder on its path, is a link that leads out, or the path leads out by `..`.
    """
    if path.resolve().is_relative_to((root or path.parent).resolve()):
        return
    if root is None:
        raise ValueError(f"{path} is a link that leads out of its folder; put the file itself there")
    raise ValueError(f"{path} leads out of the folder {root}, by a link or by ..; put the file itself there")


def read_bytes(path: Path, most_bytes: int, inside: bool = True, root: Path | None = None) -> bytes:
    """The content of a file; arguments and errors as in `open_regular`."""
    with open_regular(path, most_bytes, inside, root) as (file, size):
        return file.read(size)


def read_text(path: Path, most_bytes: int, inside: bool = True) -> str:
    """The content of a text file; arguments and errors as in `open_regular`, and a ValueError if it is not UTF-8."""
    try:
        return read_bytes(path, most_bytes, inside).decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not text: {error}") from error


def sha256(path: Path, most_bytes: int, inside: bool = True) -> str:
    """The digest of a file, read piece by piece; arguments and errors as of `open_regular`."""
    with open_regular(path, most_bytes, inside) as (file, _):
        return digest(file)


def digest(file: BufferedReader) -> str:
    """The SHA-256 of an open file. Skips holes, because a sparse file can be very long at no cost on disk."""
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
    """Begin and end of the next stored bytes at or after offset `at`; both are `size` if there are none."""
    if not hasattr(os, "SEEK_DATA"):
        return at, size
    try:
        begin = os.lseek(number, at, os.SEEK_DATA)
        return begin, os.lseek(number, begin, os.SEEK_HOLE)
    except OSError as error:
        if error.errno == errno.ENXIO:  # the rest of the file is a hole
            return size, size
        return at, size  # the file system does not report holes


def parse_json(content: str | bytes, constants: bool = False) -> Any:
    """Parses strict JSON: UTF-8, no NaN or Infinity, no duplicate keys, limited depth and number of values.

    Numbers must fit into 64 bits: a larger float would become infinite, and a larger integer fits into no array.

    Args:
        content: the text.
        constants: accept NaN and Infinity, which Python's `json` writes.

    Raises:
        ValueError: the text is not such JSON.
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
        # Raises on an escaped half of a surrogate pair, which can be neither printed nor part of a file name.
        json.dumps(value, ensure_ascii=False).encode()
    return value


def read_json(path: Path, most_bytes: int, root: Path | None = None) -> Any:
    """The content of a JSON file; arguments as in `open_regular`.

    Raises:
        ValueError: the file is invalid, see `open_regular` and `parse_json`; the message names it.
        OSError: the file is missing or cannot be read.
    """
    content = read_bytes(path, most_bytes, root=root)
    try:
        return parse_json(content)
    except ValueError as error:
        raise ValueError(f"{path} cannot be read: {error}") from error


def read_object(path: Path, most_bytes: int, root: Path | None = None) -> dict[str, Any]:
    """The content of a JSON file that must be an object; arguments and errors as in `read_json`."""
    value = read_json(path, most_bytes, root)
    if not isinstance(value, dict):
        raise ValueError(f"{path} cannot be read: it holds {_kind(value)}, not an object")
    return value


def read_validated(path: Path, most_bytes: int, adapter: TypeAdapter[T], root: Path | None = None) -> T:
    """The content of a JSON file, validated as the type of `adapter`; arguments and errors as in `read_json`."""
    value = read_json(path, most_bytes, root)
    try:
        return adapter.validate_python(value)
    except ValidationError as error:
        raise ValueError(f"{path} cannot be read: {first_problem(error)}") from error


def first_problem(error: ValidationError) -> str:
    """The first validation error in one line: the key and the problem."""
    problem = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in problem["loc"])
    message = problem["msg"].removeprefix("Value error, ")
    return f"{where}: {message}" if where else message


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object; refuses duplicate keys, because parsers disagree on which of them counts."""
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"the key {key!r:.80} occurs twice")
        found[key] = value
    return found


def _finite(text: str) -> float:
    if math.isinf(value := float(text)):
        raise ValueError(f"the number {text:.20} is too large")
    return value


def _whole(text: str) -> int:
    # The length is checked first, because converting many digits is slow.
    if len(text) > 20 or not -(2**63) <= (value := int(text)) < 2**64:
        raise ValueError(f"the number {text:.20} is too large")
    return value


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON number")


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

"""The format version in each of our JSON documents, so that an older paradp refuses a newer document."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from paradp.policy.files.reading import read_object

KEY = "format"
FORMAT = 1


def stamped(content: Mapping[str, Any]) -> dict[str, Any]:
    """The content of a document with the format version added."""
    return {KEY: FORMAT, **content}


def read_document(path: Path, most_bytes: int) -> dict[str, Any]:
    """The content of a document. A document without a version has format 1: early ones were written without it.

    Raises:
        ValueError: as `read_object`, or the format is newer than this paradp supports.
        OSError: the file is missing or cannot be read.
    """
    content = read_object(path, most_bytes)
    found = content.get(KEY, 1)
    if type(found) is not int or found < 1:
        raise ValueError(f"{path} cannot be read: {KEY} should be a whole number from 1, not {found!r:.40}")
    check_newest(f"{path} has the {KEY}", found, FORMAT)
    return content


def check_newest(what: str, found: int, newest: int) -> None:
    """Checks a format version.

    Args:
        what: the start of the error message, up to the number.
        found: the version in the file.
        newest: the newest version that this paradp reads.

    Raises:
        ValueError: `found` is newer than `newest`.
    """
    if found > newest:
        raise ValueError(f"{what} {found}, and this paradp reads up to {newest}: update paradp")

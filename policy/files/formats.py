"""The version of a document's format: a number in every JSON document of ours, so that a newer one is not misread."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from paradp.policy.files.reading import read_object

KEY = "format"
FORMAT = 1


def stamped(content: Mapping[str, Any]) -> dict[str, Any]:
    """What a document says, with the version of its format."""
    return {KEY: FORMAT, **content}


def read_document(path: Path, most_bytes: int) -> dict[str, Any]:
    """What a document says; one without a version was written before there were any, in format 1.

    Raises:
        ValueError: as `read_object`, or its format is newer than what is read here.
        OSError: it is not there or may not be read.
    """
    content = read_object(path, most_bytes)
    found = content.get(KEY, 1)
    if type(found) is not int or found < 1:
        raise ValueError(f"{path} cannot be read: {KEY} should be a whole number from 1, not {found!r:.40}")
    check_newest(f"{path} has the {KEY}", found, FORMAT)
    return content


def check_newest(what: str, found: int, newest: int) -> None:
    """Raises:
    ValueError: a version is newer than the newest that is read here.
    """
    if found > newest:
        raise ValueError(f"{what} {found}, and this paradp reads up to {newest}: update paradp")

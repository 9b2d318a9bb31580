"""Compares the identity of a run on disk with the requested one: settings, and hashes of data and weights."""

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from paradp.policy.errors import SettingError

# Dictionaries whose order of keys matters, because it is that of a vector's dimensions. They are compared as lists of pairs.
_ORDERED = ("observation", "action")
_LONGEST = 80
# Largest number of differences in a message.
_MOST = 4


def describe(thing: Any) -> dict[str, Any]:
    """Converts a dataclass to JSON values; dictionaries whose order matters become lists of pairs."""
    return as_json(asdict(thing))


def as_json(values: Mapping[str, Any]) -> dict[str, Any]:
    """Converts values as `describe` does."""
    return json.loads(json.dumps({k: list(v.items()) if k in _ORDERED else v for k, v in values.items()}))


def differences(there: Mapping[str, Any], here: Mapping[str, Any], sides: tuple[str, str] = ("there", "here")) -> str:
    """Describes the values in which two descriptions differ; empty if there are none.

    Top-level entries that only `there` has are ignored; within dictionaries that both have, they count.
    """
    found = [
        f"{'.'.join(place)}: {_said(there, place, sides[0])}, {_said(here, place, sides[1])}"
        for place in _differing(there, here)
    ]
    return "; ".join(found[:_MOST]) + f"; and {len(found) - _MOST} more" * (len(found) > _MOST)


def check_same(there: Mapping[str, Any], here: Mapping[str, Any], holds: str, remedy: str = "choose another --out") -> None:
    """Checks that a run on disk has the requested identity, so that it may be continued.

    Args:
        there, here: their descriptions.
        holds: start of the error message, such as `runs/x holds another run`.
        remedy: advice in the error message.

    Raises:
        SettingError: it has not; the message contains the differences, and the error the names of the settings.
    """
    if differing := differences(there, here):
        raise SettingError(f"{holds} ({differing}); {remedy}", *changed(there, here))


def changed(there: Mapping[str, Any], here: Mapping[str, Any]) -> list[str]:
    """The names of the values in which two descriptions differ, compared as in `differences`."""
    return list(dict.fromkeys(place[0] for place in _differing(there, here)))


@dataclass(frozen=True)
class Pieces:
    """An array that is too large to be read at once, in pieces along its first axis.

    Attributes:
        dtype, shape: those of the whole array.
        pieces: the pieces in order.
    """

    dtype: np.dtype
    shape: tuple[int, ...]
    pieces: Iterable[np.ndarray]


def digest(arrays: "Mapping[str, np.ndarray | Pieces]") -> str:
    """The hash of arrays with their names, order, types and shapes."""
    found = hashlib.sha256()
    for name, values in arrays.items():
        found.update(f"{name} {values.dtype.str} {values.shape}\n".encode())
        for piece in values.pieces if isinstance(values, Pieces) else (values,):
            found.update(np.ascontiguousarray(piece).reshape(-1).view(np.uint8).data)
    return found.hexdigest()


def _differing(there: Mapping[str, Any], here: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    """Yields the paths of differing values: their keys after those of the enclosing dictionaries."""
    for name, value in here.items():
        inner = there.get(name)
        if isinstance(value, dict) and isinstance(inner, dict):
            yield from ((name, *place) for place in _differing(inner, dict.fromkeys(inner) | value))
        elif name not in there or inner != value:
            yield (name,)


def _said(description: Mapping[str, Any], place: tuple[str, ...], side: str) -> str:
    value: Any = description
    for part in place:
        if not isinstance(value, Mapping) or part not in value:
            return f"not noted {side}"
        value = value[part]
    return f"{_short(value)} {side}"


def _short(value: Any) -> str:
    text = str(value)
    if re.fullmatch(r"[0-9a-f]{64}", text):
        return f"{text[:12]}…"
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"

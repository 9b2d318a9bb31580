"""Compares the identity of a run on disk with the requested one: settings, and hashes of data and weights."""

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from paradp.policy.errors import SettingError

# In these the order of the keys is that of a vector's dimensions. Dictionaries are equal in any order, lists of pairs not.
_ORDERED = ("observation", "action")
_LONGEST = 80
# A sentence names so many differences.
_MOST = 4


def describe(thing: Any) -> dict[str, Any]:
    """A dataclass as JSON holds it; where the order of keys carries meaning, as a list of pairs."""
    return as_json(asdict(thing))


def as_json(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values as `describe` has them."""
    return json.loads(json.dumps({k: list(v.items()) if k in _ORDERED else v for k, v in values.items()}))


def differences(there: Mapping[str, Any], here: Mapping[str, Any], sides: tuple[str, str] = ("there", "here")) -> str:
    """In which values two descriptions differ, with both values and whose they are; empty where in none.

    What only `there` holds does not count, but in the dictionaries that both hold.
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
        holds: what is on disk if it is not the same, such as `runs/x holds another run`.
        remedy: what to do then.

    Raises:
        SettingError: it is not; the message names the differences, the error the settings to blame.
    """
    if differing := differences(there, here):
        raise SettingError(f"{holds} ({differing}); {remedy}", *_changed(there, here))


def _changed(there: Mapping[str, Any], here: Mapping[str, Any]) -> list[str]:
    """Names of the values in which two descriptions differ, as `differences` compares them."""
    return list(dict.fromkeys(place[0] for place in _differing(there, here)))


@dataclass(frozen=True)
class Pieces:
    """An array that is too large to be read twice, as its pieces along its first axis.

    Attributes:
        dtype, shape: of the whole array.
        pieces: in order.
    """

    dtype: np.dtype
    shape: tuple[int, ...]
    pieces: Iterable[np.ndarray]


def digest(arrays: "Mapping[str, np.ndarray | Pieces]") -> str:
    """Of arrays with their names, in their order, types and shapes."""
    found = hashlib.sha256()
    for name, values in arrays.items():
        found.update(f"{name} {values.dtype.str} {values.shape}\n".encode())
        for piece in values.pieces if isinstance(values, Pieces) else (values,):
            found.update(np.ascontiguousarray(piece).reshape(-1).view(np.uint8).data)
    return found.hexdigest()


def _differing(there: Mapping[str, Any], here: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    """Places of values: their names, behind those of the dictionaries around them."""
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

"""Whether a run on disk is the one that is asked for: its description, and the content of its data and weights."""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

# In these the order of the keys is that of a vector's dimensions. Dictionaries are equal in any order, lists of pairs not.
_ORDERED = ("observation", "action")
_LONGEST = 80


def describe(thing: Any) -> dict[str, Any]:
    """A dataclass as JSON holds it; where the order of keys carries meaning, as a list of pairs."""
    values = asdict(thing)
    return json.loads(json.dumps({k: list(v.items()) if k in _ORDERED else v for k, v in values.items()}))


def differences(there: Mapping[str, Any], here: Mapping[str, Any], sides: tuple[str, str] = ("there", "here")) -> str:
    """In which values two descriptions differ, with both values and whose they are; empty where in none."""
    found = []
    for name, value in here.items():
        if name not in there:
            found.append(f"{name}: not noted {sides[0]}, {_short(value)} {sides[1]}")
        elif there[name] != value:
            found.append(f"{name}: {_short(there[name])} {sides[0]}, {_short(value)} {sides[1]}")
    return "; ".join(found)


def digest(arrays: Mapping[str, np.ndarray]) -> str:
    """Of arrays with their names, in their order, types and shapes."""
    found = hashlib.sha256()
    for name, values in arrays.items():
        found.update(f"{name} {values.dtype.str} {values.shape}\n".encode())
        found.update(np.ascontiguousarray(values).reshape(-1).view(np.uint8).data)
    return found.hexdigest()


def _short(value: Any) -> str:
    text = str(value)
    if re.fullmatch(r"[0-9a-f]{64}", text):
        return f"{text[:12]}…"
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"

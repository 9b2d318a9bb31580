"""Looks things up by name, with an error message for unknown names."""

import difflib
from collections.abc import Mapping
from typing import TypeVar

T = TypeVar("T")


def find(known: Mapping[str, T], name: str, what: str) -> T:
    """Returns the entry of `known` with this name; `what` is what the message calls the entries.

    Raises:
        ValueError: the name is unknown; the message lists all names and the closest one.
    """
    if name in known:
        return known[name]
    # Same messages as `paradp.sampler.lookup`, which environments cannot import, because they import nothing of ours.
    near = difflib.get_close_matches(name, known, n=1)
    hint = f" — did you mean {near[0]!r}?" if near else "."
    raise ValueError(f"unknown {what} {name!r}{hint} There are: {', '.join(known)}.")

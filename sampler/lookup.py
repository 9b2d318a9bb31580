"""What to say of a name that is none."""

import difflib
from collections.abc import Iterable


def unknown(what: str, name: str, known: Iterable[str], there_are: str = "There are") -> str:
    """The sentence of an error: which name, the nearest that there is, and all that there are.

    Args:
        what: is named, with what comes before the name: `unknown sampler`.
        name: what was asked for.
        known: all names.
        there_are: how the list of them begins.
    """
    known = list(known)
    near = difflib.get_close_matches(name, known, n=1)
    hint = f" — did you mean {near[0]!r}?" if near else "."
    return f"{what} {name!r}{hint} {there_are}: {', '.join(known) or 'none'}."

"""Names that users type: the error message for an unknown one, and the note for an older spelling."""

import difflib
import logging
import re
from collections.abc import Callable, Iterable
from functools import cache, wraps
from typing import Any, TypeVar

_LOG = logging.getLogger(__name__)

T = TypeVar("T")
# Least likeness of a name that is suggested.
_ALIKE = 0.55


@cache
def note_renamed(older: str, now: str) -> None:
    """Logs, once per process, that an older spelling was accepted, and the spelling to use now."""
    _LOG.warning(f"{older} is now {now}")


def renamed_arguments(**renamed: str) -> Callable[[T], T]:
    """Decorates a function or class that also accepts older names of its keyword arguments, with a note for each.

    Args:
        renamed: older name → present name.
    """

    def decorate(target: T) -> T:
        name = target.__name__  # type: ignore[attr-defined]
        call: Callable[..., Any] = target.__init__ if isinstance(target, type) else target  # type: ignore[misc, assignment]

        @wraps(call)
        def call_with_older(*args: Any, **kwargs: Any) -> Any:
            for older, now in renamed.items():
                if older not in kwargs:
                    continue
                if now in kwargs:
                    raise TypeError(f"{name} is given both {now} and its older name {older}")
                note_renamed(f"the argument {older} of {name}", now)
                kwargs[now] = kwargs.pop(older)
            return call(*args, **kwargs)

        if not isinstance(target, type):
            return call_with_older  # type: ignore[return-value]
        target.__init__ = call_with_older  # type: ignore[misc]
        return target

    return decorate


def unknown(what: str, name: str, known: Iterable[str], there_are: str = "There are") -> str:
    """The error message for an unknown name, with the closest known name and the list of all known names.

    Args:
        what: the text before the name, such as `unknown sampler`.
        name: the unknown name.
        known: all known names.
        there_are: the text before the list of known names.
    """
    known = list(known)
    near = _nearest(name, known)
    hint = f" — did you mean {near!r}?" if near else "."
    return f"{what} {name!r}{hint} {there_are}: {', '.join(known) or 'none'}."


def _nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that was probably meant. Letter case and a number of steps at the end do not count.

    Among names that differ only in this number, the one with a number is the nearest to a name with one.
    """
    typed = name.lower()
    numbered = _without_number(typed) != typed

    def likeness(one: str) -> tuple[float, bool]:
        lower = one.lower()
        plain = _without_number(lower)
        return max(_alike(typed, lower), _alike(_without_number(typed), plain)), (plain != lower) == numbered

    nearest = max(known, key=likeness, default=None)
    return nearest if nearest is not None and likeness(nearest)[0] >= _ALIKE else None


def _without_number(name: str) -> str:
    return re.sub(r"-(\d+|n)$", "", name)


def _alike(a: str, b: str) -> float:
    """The likeness of two names, 0 to 1: the mean of difflib's ratio, which favours beginnings, and the share left as is."""
    unchanged = 1 - _edits(a, b) / max(len(a), len(b), 1)
    return (difflib.SequenceMatcher(None, a, b).ratio() + unchanged) / 2


def _edits(a: str, b: str) -> int:
    """The number of letters to insert, delete or replace, and of neighbours to exchange, to turn `a` into `b`."""
    rows = [list(range(len(b) + 1))]
    for i, letter in enumerate(a, 1):
        row, last = [i], rows[-1]
        for j, other in enumerate(b, 1):
            cost = min(last[j] + 1, row[-1] + 1, last[j - 1] + (letter != other))
            if i > 1 and j > 1 and a[i - 2 : i] == b[j - 2 : j][::-1]:
                cost = min(cost, rows[-2][j - 2] + 1)
            row.append(cost)
        rows.append(row)
    return rows[-1][-1]

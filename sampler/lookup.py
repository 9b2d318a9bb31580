"""Names that users type: the error message for an unknown one, and the note for an older spelling."""

import difflib
import logging
import re
from collections.abc import Callable, Iterable
from functools import cache, wraps
from typing import Any, TypeVar

_LOG = logging.getLogger(__name__)

T = TypeVar("T")
# Least likeness of a name that is suggested; difflib's own default.
_ALIKE = 0.6


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

    Among equally like names, one with the same letters in another order is preferred, then one with a number to one with a
    number.
    """
    typed = name.lower()
    plain, numbered = _without_number(typed), _without_number(typed) != typed

    def likeness(one: str) -> tuple[float, bool, bool]:
        other = _without_number(one.lower())
        ratio = difflib.SequenceMatcher(None, plain, other).ratio()
        return ratio, sorted(plain) == sorted(other), (other != one.lower()) == numbered

    nearest = max(known, key=likeness, default=None)
    return nearest if nearest is not None and likeness(nearest)[0] >= _ALIKE else None


def _without_number(name: str) -> str:
    return re.sub(r"-(\d+|n)$", "", name)

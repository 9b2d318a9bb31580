"""Looks things up by name, with an error message for unknown names."""

import difflib
import logging
from collections.abc import Callable, Mapping
from functools import cache, wraps
from typing import Any, TypeVar

T = TypeVar("T")
_LOG = logging.getLogger(__name__)


def find(known: Mapping[str, T], name: str, what: str) -> T:
    """Returns the entry of `known` with this name; `what` is what the message calls the entries.

    Raises:
        ValueError: the name is unknown; the message lists all names and the closest one.
    """
    if name in known:
        return known[name]
    # Messages as those of `paradp.sampler.lookup`, which environments cannot import, because they import nothing of ours.
    lower = {one.lower(): one for one in known}
    near = difflib.get_close_matches(name.lower(), lower, n=1)
    hint = f" — did you mean {lower[near[0]]!r}?" if near else "."
    raise ValueError(f"unknown {what} {name!r}{hint} There are: {', '.join(known)}.")


# Notes as `paradp.sampler.lookup` makes them, for the same reason.
@cache
def note_renamed(older: str, now: str) -> None:
    """Logs, once per process, that an older name was accepted, and the name to use now."""
    _LOG.warning(f"{older} is now {now}")


def renamed_argument(older: str, now: str) -> Callable[[type[T]], type[T]]:
    """Decorates a class whose constructor also accepts the older name of a keyword argument, with a note."""

    def decorate(cls: type[T]) -> type[T]:
        construct: Callable[..., None] = cls.__init__

        @wraps(construct)
        def construct_with_older(self: T, *args: Any, **kwargs: Any) -> None:
            if older in kwargs:
                if now in kwargs:
                    raise TypeError(f"{cls.__name__} is given both {now} and its older name {older}")
                note_renamed(f"the argument {older} of {cls.__name__}", now)
                kwargs[now] = kwargs.pop(older)
            construct(self, *args, **kwargs)

        cls.__init__ = construct_with_older  # type: ignore[method-assign, assignment]
        return cls

    return decorate

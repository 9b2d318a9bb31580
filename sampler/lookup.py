"""Names that users type: the error message for an unknown one, and the note for an older spelling."""

import difflib
import logging
from collections.abc import Iterable
from functools import cache

_LOG = logging.getLogger(__name__)


@cache
def note_renamed(older: str, now: str) -> None:
    """Logs, once per process, that an older spelling was accepted, and the spelling to use now."""
    _LOG.warning(f"{older} is now {now}")


def unknown(what: str, name: str, known: Iterable[str], there_are: str = "There are") -> str:
    """The error message for an unknown name, with the closest known name and the list of all known names.

    Args:
        what: the text before the name, such as `unknown sampler`.
        name: the unknown name.
        known: all known names.
        there_are: the text before the list of known names.
    """
    known = list(known)
    near = difflib.get_close_matches(name, known, n=1)
    hint = f" — did you mean {near[0]!r}?" if near else "."
    return f"{what} {name!r}{hint} {there_are}: {', '.join(known) or 'none'}."

"""Solvers, engines and networks of other packages, found by entry points and imported when they are first asked for."""

from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import TypeVar

T = TypeVar("T")


@cache
def plugins(group: str) -> dict[str, EntryPoint]:
    """The entry points of a group, by name; none of them is imported."""
    return {point.name: point for point in entry_points(group=group)}


def load_plugin(group: str, name: str, kind: type[T]) -> T:
    """Imports the object that an entry point names.

    Args:
        group: of entry points, such as `paradp.solvers`.
        name: of the entry point; `plugins` has it.
        kind: what the object must be: an instance of this class.

    Raises:
        ValueError: it cannot be imported, or is something else.
    """
    point = plugins(group)[name]
    try:
        found = point.load()
    except Exception as error:
        raise ValueError(f"{name!r} of {group} ({point.value}) cannot be imported: {error}") from error
    if not isinstance(found, kind):
        raise ValueError(f"{name!r} of {group} ({point.value}) is a {type(found).__name__}, not a {kind.__name__}")
    return found

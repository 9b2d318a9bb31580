"""Solvers, engines and networks of other packages, found by entry points and imported at their first use."""

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
        group: the group of entry points, such as `paradp.solvers`.
        name: the name of an entry point in `plugins(group)`.
        kind: the class that the object must be an instance of.

    Raises:
        ValueError: the object cannot be imported, or is not an instance of `kind`.
    """
    point = plugins(group)[name]
    try:
        found = point.load()
    except Exception as error:
        raise ValueError(f"{name!r} of {group} ({point.value}) cannot be imported: {error}") from error
    if not isinstance(found, kind):
        raise ValueError(f"{name!r} of {group} ({point.value}) is a {type(found).__name__}, not a {kind.__name__}")
    return found

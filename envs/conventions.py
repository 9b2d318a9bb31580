"""The registry of action conventions: those of paradp, and those of other installed packages."""

from collections.abc import Sequence
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import cast

import numpy as np

from paradp.envs.actions import ActionConvention, JointVelocityAction, PlaneAction, RobotConvention
from paradp.envs.arms import ROBOT_CONVENTIONS
from paradp.envs.lookup import find

# The conventions of paradp.
ACTION_CONVENTIONS: dict[str, ActionConvention] = {
    **ROBOT_CONVENTIONS,
    PlaneAction.name: PlaneAction(),
    JointVelocityAction.name: JointVelocityAction(),
}
# Entry point group for packages with action conventions; each entry point is an `ActionConvention` of the same name.
GROUP = "paradp.action_conventions"
_MEMBERS = ("name", "unit", "parts", "units", "low", "high", "hold", "path")
_MEMBERS_FOR_ARMS = ("hands", "controller_options", "to_robosuite")
_brought: dict[str, ActionConvention] = {}


def register_convention(convention: ActionConvention) -> None:
    """Registers an action convention in this process; an entry point does so in every process.

    Raises:
        ValueError: it is incomplete or contradicts itself, or its name is already taken.
    """
    check_convention(convention)
    if convention.name in convention_names():
        raise ValueError(f"two action conventions have the name {convention.name!r}")
    _brought[convention.name] = convention


def find_convention(name: str) -> ActionConvention:
    """Finds an action convention by name, among those of installed packages too; only the one that is found is imported.

    Raises:
        ValueError: the name is unknown, and the message lists all names and the closest one; or the convention of an
            installed package cannot be imported, is incomplete, or has the name of another.
    """
    point = _points().get(name)
    if name in ACTION_CONVENTIONS and point is None:
        return ACTION_CONVENTIONS[name]
    if name in _brought:
        return _brought[name]
    if point is None:
        find(dict.fromkeys(convention_names()), name, "action convention")
    assert point is not None
    if name in ACTION_CONVENTIONS:
        raise ValueError(f"two action conventions have the name {name!r}: paradp's, and {point.value}")
    _brought[name] = _load(point)
    return _brought[name]


def find_robot_convention(name: str, hands: Sequence[str] | None = None) -> RobotConvention:
    """Finds an action convention of robosuite's arms by name.

    Args:
        name: its name.
        hands: prefixes of the hands that it must command; `None` accepts any hands.

    Raises:
        ValueError: see `find_convention`; or the convention is not for robosuite's arms, or not for these hands.
    """
    convention = cast(RobotConvention, find_convention(name))
    if lacking := [member for member in _MEMBERS_FOR_ARMS if not hasattr(convention, member)]:
        raise ValueError(f"the action convention {name!r} is not for robosuite's arms: it lacks {', '.join(lacking)}")
    there = tuple(hand.prefix for hand in convention.hands)
    if hands is not None and there != tuple(hands):
        raise ValueError(f"the action convention {name!r} is for {_hands(there)}, the task has {_hands(hands)}")
    return convention


def convention_names() -> list[str]:
    """The names of all action conventions; none of an installed package is imported."""
    return list(dict.fromkeys([*ACTION_CONVENTIONS, *_brought, *_points()]))


def check_convention(convention: ActionConvention) -> None:
    """Checks that an object is an action convention, and that its limits fit its parts.

    Raises:
        ValueError: a member is missing, or parts and limits contradict each other; the message names it.
    """
    what = f"the action convention {getattr(convention, 'name', convention)!r}"
    if isinstance(convention, type):
        raise ValueError(f"{what} is a class; an object of it is needed")
    if missing := [member for member in _MEMBERS if not hasattr(convention, member)]:
        raise ValueError(f"{what} is a {type(convention).__name__} and lacks {', '.join(missing)}")
    low, high, size = convention.low, convention.high, sum(convention.parts.values())
    for limit, values in (("low", low), ("high", high)):
        if not isinstance(values, np.ndarray) or values.shape != (size,) or values.dtype != np.float32:
            raise ValueError(f"{what}: its {limit} must be a float32 array of {size} values, as many as its parts have")
    if not (np.isfinite(low) & np.isfinite(high) & (low < high)).all():
        raise ValueError(f"{what}: every low must be below its high, and both finite")


def described(name: str, parts: dict[str, int]) -> str:
    """An action convention in words, such as `absolute (goal_pos 3, goal_rot6d 6, gripper 1: 10 values)`."""
    listed = ", ".join(f"{part} {size}" for part, size in parts.items())
    return f"{name} ({listed}: {sum(parts.values())} values)"


def _hands(names: Sequence[str]) -> str:
    return "one hand without a name" if tuple(names) == ("",) else f"the hands {', '.join(map(repr, names)) or 'none'}"


@cache
def _points() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=GROUP)}


def _load(point: EntryPoint) -> ActionConvention:
    what = f"the action convention {point.name!r} of {point.value}"
    try:
        convention: ActionConvention = point.load()
    except Exception as error:
        raise ValueError(f"{what} cannot be imported: {error}") from error
    check_convention(convention)
    if convention.name != point.name:
        raise ValueError(f"{what} is called {convention.name!r}; the entry point and the convention need the same name")
    return convention

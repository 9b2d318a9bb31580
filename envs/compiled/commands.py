"""Checks actions and converts them to commands of robosuite's controller, in one compiled call."""

from collections.abc import Callable

import numpy as np

from paradp.envs.actions import RobotConvention
from paradp.envs.compiled.compiling import bind, compiled
from paradp.envs.compiled.rotations import is_rotation, orthonormal_rows, rows_rotvec


def bind_command(convention: RobotConvention) -> Callable[[np.ndarray], np.ndarray | None]:
    """Compiles `to_robosuite` of a convention, in double precision; it returns `None` for an invalid action.

    An action is invalid if it is not finite or its rotation is degenerate. Its array must be contiguous, of the right size.
    Conventions of other packages' hands are not compiled: for these it always returns `None`.
    """
    compiled_for_hand = _COMMANDS.get(convention.hands[0].name)  # all arms are commanded alike
    if compiled_for_hand is None:
        return lambda action: None
    return bind(compiled_for_hand, then=(np.empty(convention.low.shape),))


@compiled
def _absolute(action):
    if not np.isfinite(action).all():
        return None
    arms = len(action) // 10
    command = np.empty(7 * arms)
    for arm in range(arms):
        own, there = action[10 * arm :], command[7 * arm :]
        rows = (own[3], own[4], own[5], own[6], own[7], own[8])
        if not is_rotation(*rows):
            return None
        there[:3] = own[:3]
        there[3], there[4], there[5] = rows_rotvec(orthonormal_rows(*rows))
        there[6] = own[9]
    return command


@compiled
def _delta(action):
    return action if np.isfinite(action).all() else None


_COMMANDS = {"absolute": _absolute, "delta": _delta}

"""Checks actions and converts them to commands of robosuite's controller, in one compiled call."""

from collections.abc import Callable

import numpy as np

from paradp.envs.actions import HandConvention
from paradp.envs.compiled.compiling import bind, compiled
from paradp.envs.compiled.rotations import is_rotation, orthonormal_rows, rows_rotvec


def bind_command(convention: HandConvention) -> Callable[[np.ndarray], np.ndarray | None]:
    """Compiles `to_robosuite` of a convention, in double precision; it returns `None` for an invalid action.

    An action is invalid if it is not finite or its rotation is degenerate. Its array must be contiguous, of the right size.
    """
    return bind(_COMMANDS[convention.name], then=(np.empty(convention.low.shape),))


@compiled
def _absolute(action):
    rows = (action[3], action[4], action[5], action[6], action[7], action[8])
    if not np.isfinite(action).all() or not is_rotation(*rows):
        return None
    command = np.empty(7)
    command[:3] = action[:3]
    command[3], command[4], command[5] = rows_rotvec(orthonormal_rows(*rows))
    command[6] = action[9]
    return command


@compiled
def _delta(action):
    return action if np.isfinite(action).all() else None


_COMMANDS = {"absolute": _absolute, "delta": _delta}

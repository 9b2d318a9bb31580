"""Actions as goals of robosuite's controller, each by one compiled call: `to_robosuite` of the conventions, and its checks."""

from collections.abc import Callable

import numpy as np

from paradp.envs.actions import HandConvention
from paradp.envs.compiled.compiling import bind, compiled
from paradp.envs.compiled.rotations import is_rotation, orthonormal_rows, rows_rotvec


@compiled
def absolute_goal(action: np.ndarray) -> np.ndarray | None:
    """What robosuite takes, `[7]`, for an action `[10]`; `None` if that is not finite or holds a rotation that is none."""
    rows = (action[3], action[4], action[5], action[6], action[7], action[8])
    if not np.isfinite(action).all() or not is_rotation(*rows):
        return None
    goal = np.empty(7)
    goal[:3] = action[:3]
    goal[3], goal[4], goal[5] = rows_rotvec(orthonormal_rows(*rows))
    goal[6] = action[9]
    return goal


@compiled
def delta_goal(action: np.ndarray) -> np.ndarray | None:
    """What robosuite takes, `[7]`, for an action `[7]`; `None` if that is not finite."""
    return action if np.isfinite(action).all() else None


_GOALS = {"absolute": absolute_goal, "delta": delta_goal}


def bind_goal(convention: HandConvention) -> Callable[[np.ndarray], np.ndarray | None]:
    """That of a convention; takes actions of its size in double precision that lie in one piece."""
    return bind(_GOALS[convention.name], then=(np.empty(convention.space.shape),))

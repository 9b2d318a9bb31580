"""The observation of hand and objects, read from the simulator's arrays in one compiled call."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from paradp.envs.compiled.compiling import bind, compiled

# Values of the hand, and of each object.
HAND_SIZE, OBJECT_SIZE = 11, 18


def bind_observation(data: Any, site: int, fingers: Sequence[int], bodies: Sequence[int]) -> Callable[[], np.ndarray]:
    """Compiles `observe` for a simulation.

    Args:
        data: MuJoCo's data.
        site: the grip site.
        fingers: indices of the two finger joints in `qpos`.
        bodies: the objects.
    """
    hand = data.site_xpos[site], data.site_xmat[site], data.qpos, np.array(fingers, np.int64)
    return bind(observe, *hand, data.body_xpos, data.body_xmat, np.array(bodies, np.int64))


# Long: half is documentation. One call, because each call costs more than its computation.
@compiled
def observe(
    site_pos: np.ndarray,
    site_rot: np.ndarray,
    qpos: np.ndarray,
    fingers: np.ndarray,
    body_pos: np.ndarray,
    body_rot: np.ndarray,
    bodies: np.ndarray,
) -> np.ndarray:
    """Returns one vector, `[11 + 18 n]` in single precision.

    For the hand: position (m), rotation_6d, finger joints (m). For each object: position (m) and rotation_6d in the world
    frame, position (m) and rotation_6d in the frame of the hand.

    Args:
        site_pos: of the grip site, `[3]`.
        site_rot: its rotation, `[9]`.
        qpos: of all joints.
        fingers: indices of the finger joints in it, `[2]`.
        body_pos: of all bodies, `[b, 3]`.
        body_rot: of all bodies, `[b, 9]`.
        bodies: indices of the objects' bodies, `[n]`.
    """
    seen = np.empty(HAND_SIZE + OBJECT_SIZE * len(bodies), np.float32)
    for i in range(3):
        seen[i] = site_pos[i]
    for i in range(6):
        seen[3 + i] = site_rot[i]
    seen[9], seen[10] = qpos[fingers[0]], qpos[fingers[1]]
    for n in range(len(bodies)):
        at = HAND_SIZE + OBJECT_SIZE * n
        position, rotation = body_pos[bodies[n]], body_rot[bodies[n]]
        for i in range(6):
            seen[at + 3 + i] = rotation[i]
        for i in range(3):
            seen[at + i] = position[i]
            away = 0.0
            for k in range(3):
                away += site_rot[3 * k + i] * (position[k] - site_pos[k])
            seen[at + 9 + i] = away
        for i in range(2):
            for j in range(3):
                turned = 0.0
                for k in range(3):
                    turned += site_rot[3 * k + i] * rotation[3 * k + j]
                seen[at + 12 + 3 * i + j] = turned
    return seen

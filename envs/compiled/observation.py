"""The observation of hands and objects, read from the simulator's arrays in one compiled call."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from paradp.envs.compiled.compiling import bind, compiled
from paradp.envs.robosuite_hands import Hand

# Values of a hand, of an object, and of an object in the frame of a hand.
HAND_SIZE, OBJECT_SIZE, RELATIVE_SIZE = 11, 9, 9


def bind_observation(data: Any, hands: Sequence[Hand], bodies: Sequence[int]) -> Callable[[], np.ndarray]:
    """Compiles `observe` for a simulation.

    Args:
        data: MuJoCo's data.
        hands: the hands.
        bodies: the objects.
    """
    sites = np.array([hand.site for hand in hands], np.int64)
    fingers = np.array([hand.fingers for hand in hands], np.int64)
    objects = data.body_xpos, data.body_xmat, np.array(bodies, np.int64)
    return bind(observe, data.site_xpos, data.site_xmat, sites, data.qpos, fingers, *objects)


# Long: half is documentation. One call, because each call costs more than its computation.
@compiled
def observe(
    site_pos: np.ndarray,
    site_rot: np.ndarray,
    sites: np.ndarray,
    qpos: np.ndarray,
    fingers: np.ndarray,
    body_pos: np.ndarray,
    body_rot: np.ndarray,
    bodies: np.ndarray,
) -> np.ndarray:
    """Returns one vector, `[11 h + (9 + 9 h) n]` in single precision.

    For each hand: position (m), rotation_6d, finger joints (m). For each object: position (m) and rotation_6d in the world
    frame, then position (m) and rotation_6d in the frame of each hand.

    Args:
        site_pos: of all sites, `[s, 3]`.
        site_rot: of all sites, `[s, 9]`.
        sites: indices of the grip sites, `[h]`.
        qpos: of all joints.
        fingers: indices of the finger joints in it, `[h, 2]`.
        body_pos: of all bodies, `[b, 3]`.
        body_rot: of all bodies, `[b, 9]`.
        bodies: indices of the objects' bodies, `[n]`.
    """
    hands = len(sites)
    each = OBJECT_SIZE + RELATIVE_SIZE * hands
    seen = np.empty(HAND_SIZE * hands + each * len(bodies), np.float32)
    for h in range(hands):
        own = seen[HAND_SIZE * h :]
        own[:3], own[3:9] = site_pos[sites[h]], site_rot[sites[h], :6]
        own[9], own[10] = qpos[fingers[h, 0]], qpos[fingers[h, 1]]
    for n in range(len(bodies)):
        own = seen[HAND_SIZE * hands + each * n :]
        position, rotation = body_pos[bodies[n]], body_rot[bodies[n]]
        own[:3], own[3:9] = position, rotation[:6]
        for h in range(hands):
            there = own[OBJECT_SIZE + RELATIVE_SIZE * h :]
            _relative(site_pos[sites[h]], site_rot[sites[h]], position, rotation, there)
    return seen


@compiled
def _relative(hand_pos, hand_rot, position, rotation, there):
    """Writes a pose in the frame of a hand: position and rotation_6d, `[9]`."""
    for i in range(3):
        away = 0.0
        for k in range(3):
            away += hand_rot[3 * k + i] * (position[k] - hand_pos[k])
        there[i] = away
    for i in range(2):
        for j in range(3):
            turned = 0.0
            for k in range(3):
                turned += hand_rot[3 * k + i] * rotation[3 * k + j]
            there[3 + 3 * i + j] = turned

"""Poses of a hand for taking an object, and for bringing a held object to a goal pose."""

from dataclasses import dataclass

import numpy as np

from paradp.envs.experts.waypoints import Pose, Scene, Thing
from paradp.envs.rotations import wrap_angle

# The robot's base on the table's edge, in the world (m).
BASE_XY = np.array([-0.56, 0.0])
# How far the hand, pointing down, can turn from HAND_DOWN against the arm's direction (rad).
# The other experts' limit, `HAND_YAW_RANGE`, is 0.4 rad wider; a common range would change which grasps they choose.
TURN_RANGE = (-1.95, 2.2)


@dataclass(frozen=True)
class HandHold:
    """The pose of the grip site in the frame of a thing: position `[3]` (m) and rotation `[3, 3]`."""

    position: np.ndarray
    rotation: np.ndarray

    @classmethod
    def at(cls, position: np.ndarray, closing: np.ndarray, approach: np.ndarray) -> "HandHold":
        """A hold at a place of the thing, whose fingers close along one axis and reach along another."""
        return cls(position, np.stack([closing, np.cross(approach, closing), approach], axis=1))

    def of(self, thing: Thing, back: float = 0.0) -> Pose:
        """The hand's pose for this hold, or so far (m) behind it."""
        rotation = thing.rotation @ self.rotation
        return point_of(thing, self.position) - back * rotation[:, 2], rotation

    def slip(self, scene: Scene, name: str) -> float:
        """How far the hand is from where it should hold a thing (m)."""
        return float(np.linalg.norm(self.of(scene.objects[name])[0] - scene.eef_pos))


def point_of(thing: Thing, at: np.ndarray) -> np.ndarray:
    """A place `[3]` of a thing, in the world (m)."""
    return thing.position + thing.rotation @ at


def bring(scene: Scene, thing: Thing, at: np.ndarray, position: np.ndarray, rotation: np.ndarray, gain: float = 1.0) -> Pose:
    """The hand's pose that brings a place of the held thing to a position, and the thing to a rotation, however it is held.

    Args:
        scene: the current scene.
        thing: the held thing.
        at: the place, in the frame of the thing (m).
        position: its goal (m).
        rotation: the thing's goal.
        gain: factor of the hand's remaining way, above 1 against the friction of the arm's joints.
    """
    correction = rotation @ thing.rotation.T
    goal = position + correction @ (scene.eef_pos - point_of(thing, at))
    return scene.eef_pos + gain * (goal - scene.eef_pos), correction @ scene.eef_rotation


def turn_of(rotation: np.ndarray, position: np.ndarray) -> float:
    """How far the hand is turned about the vertical at a position, against the arm's direction (rad)."""
    x, y = position[:2] - BASE_XY
    return wrap_angle(np.arctan2(-rotation[0, 0], rotation[1, 0]) - np.arctan2(y, x))


def strain(turn: float) -> float:
    """The cost of a hand's turn: its size, and much more beyond what the arm can do."""
    low, high = TURN_RANGE
    return abs(turn) + 20 * max(0.0, low - turn, turn - high)

"""Action conventions: the conversion of a policy's action vector to a goal of the robot's controller.

| convention | size | meaning |
| --- | --- | --- |
| `absolute` | 10 | goal position (m, world), goal rotation_6d (world), gripper |
| `delta` | 7 | goal relative to the current pose (world), 1.0 = 0.05 m and 0.5 rad, gripper |
| `two-arm-absolute` | 20 | `absolute` for each of two arms |
| `two-arm-delta` | 14 | `delta` for each of two arms |
| `position` | 2 | PushT's: goal of the pusher, pixels |
| `joint-velocity` | 9 | Kitchen's: velocities of seven joints and two fingers, 1.0 = 2 rad/s and 2 m/s |

The gripper closes for values above zero and opens for values below. Poses are those of the grip site. Conventions of other
packages are found by `paradp.envs.conventions`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Protocol, cast

import numpy as np

from paradp.envs.rotations import (
    check_rotation_6d,
    matrix_to_rotation_6d,
    matrix_to_rotvec,
    quaternion_rows,
    rotation_6d_to_rotvec,
    rotvec_to_matrix,
    yaw_matrix,
)

if TYPE_CHECKING:
    from gymnasium import spaces

MAX_STEP_M = 0.05
MAX_STEP_RAD = 0.5
CONTROLLER_KP = 150.0
CONTROLLER_DAMPING_RATIO = 1.0
CLOSE, OPEN = 1.0, -1.0
GRIPPER_UNIT = "−1 open, 1 closed"
# The grip site's rotation in the frame of the hand's body, whose quaternion robosuite observes.
GRIP_IN_HAND = yaw_matrix(-np.pi / 2)

# Workspace limits of a goal, metres in the world frame: the table, and the arm's reach above it.
WORKSPACE_LOW = np.array([-0.45, -0.45, 0.75], np.float32)
WORKSPACE_HIGH = np.array([0.50, 0.50, 1.40], np.float32)


@dataclass(frozen=True)
class Goal:
    """A goal pose: position `[3]` (m) and rotation `[3, 3]` of the grip site in the world, gripper ±1."""

    position: np.ndarray
    rotation: np.ndarray
    gripper: float

    def step(self, position: np.ndarray, rotation: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Translation `[3]` and rotation vector `[3]` from a pose to the goal, relative to the largest step."""
        return (self.position - position) / MAX_STEP_M, matrix_to_rotvec(self.rotation @ rotation.T) / MAX_STEP_RAD

    def is_far(self, position: np.ndarray, rotation: np.ndarray) -> bool:
        """Whether the goal is further from a pose than the largest step."""
        return bool(np.abs(np.concatenate(self.step(position, rotation))).max() > 1.0 + 1e-6)

    def limited(self, position: np.ndarray, rotation: np.ndarray) -> "Goal":
        """The goal, limited to the largest step from the current pose."""
        step, turn = (np.clip(part, -1, 1) for part in self.step(position, rotation))
        return Goal(position + step * MAX_STEP_M, rotvec_to_matrix(turn * MAX_STEP_RAD) @ rotation, self.gripper)


class ActionConvention(Protocol):
    """An action convention, independent of the robot's controller."""

    name: str
    low: np.ndarray  # limits of each value, float32
    high: np.ndarray
    parts: dict[str, int]  # quantity → length, in order
    units: dict[str, str]  # quantity → unit; none for entries of a rotation matrix
    unit: str  # unit of lengths

    @property
    def space(self) -> "spaces.Box":
        """The limits as a gymnasium space."""
        ...

    def hold(self, last: np.ndarray | None, observation: Mapping[str, np.ndarray]) -> np.ndarray:
        """The action that holds the position after the action `last`, or without one, the observed position."""
        ...

    def path(self, actions: np.ndarray) -> np.ndarray:
        """The commanded path of actions `[T, A]`, `[T, D]` in `unit`, up to a constant."""
        ...


class RobotConvention(ActionConvention, Protocol):
    """Converts actions to those of robosuite, and configures the controllers of its arms for them."""

    @property
    def hands(self) -> "tuple[HandConvention, ...]":
        """The convention of each hand, in the order of an action's values."""
        ...

    def controller_options(self) -> dict[str, object]:
        """Settings of robosuite's controller of an arm for this convention."""
        ...

    def to_robosuite(self, action: np.ndarray) -> np.ndarray:
        """The input of robosuite's controllers, `[7]` for each hand.

        Raises:
            ValueError: the action contains an invalid rotation.
        """
        ...


class HandConvention(RobotConvention, Protocol):
    """Maps actions of one hand to goals, too.

    Attributes:
        prefix: the beginning of the hand's names in observations and actions; empty for a robot's only hand.
    """

    prefix: str

    def from_goal(self, goal: Goal, position: np.ndarray, rotation: np.ndarray) -> np.ndarray:
        """Returns the action that commands a goal, given the hand's current position and rotation."""
        ...


def check_action(convention: ActionConvention, action: np.ndarray) -> None:
    """Raises:
    ValueError: an action has another shape than its convention's, or is not finite.
    """
    if action.shape != convention.low.shape:
        raise ValueError(f"the action has shape {action.shape}, {convention.name} needs {convention.low.shape}")
    if not np.isfinite(action).all():
        raise ValueError(f"the action is not finite: {action}")


class BoundedAction:
    """Base of action conventions: the space is made from the limits, because machines that only plan have no gymnasium."""

    low: np.ndarray
    high: np.ndarray

    @cached_property
    def space(self) -> "spaces.Box":
        from gymnasium import spaces

        return spaces.Box(self.low, self.high, dtype=np.float32)


class HandAction(BoundedAction):
    """Base class of the conventions of one hand.

    Args:
        prefix: the beginning of the hand's names in observations and actions; empty for a robot's only hand.
    """

    unit = "m"
    quantities: Mapping[str, tuple[int, str]]  # name of a part, without prefix → length and unit

    def __init__(self, prefix: str = ""):
        self.prefix = prefix
        # A subclass may define these on its class instead of `quantities`.
        if not hasattr(type(self), "parts"):
            self.parts = {f"{prefix}{name}": length for name, (length, _) in self.quantities.items()}
        if not hasattr(type(self), "units"):
            self.units = {f"{prefix}{name}": unit for name, (_, unit) in self.quantities.items() if unit}

    @property
    def hands(self) -> tuple[HandConvention, ...]:
        return (cast(HandConvention, self),)  # which every subclass is


class AbsoluteAction(HandAction):
    """Goal poses in the world frame. robosuite neither scales nor clips these, so the box is the workspace itself."""

    name = "absolute"
    quantities = {"goal_pos": (3, "m"), "goal_rot6d": (6, ""), "gripper": (1, GRIPPER_UNIT)}
    low = np.concatenate([WORKSPACE_LOW, -np.ones(7, np.float32)])
    high = np.concatenate([WORKSPACE_HIGH, np.ones(7, np.float32)])

    def controller_options(self) -> dict[str, object]:
        return {"input_type": "absolute", "input_ref_frame": "world"}

    def to_robosuite(self, action: np.ndarray) -> np.ndarray:
        check_rotation_6d(f"{self.prefix}goal_rot6d", action[3:9])
        return np.concatenate([action[:3], rotation_6d_to_rotvec(action[3:9]), action[9:]])

    def from_goal(self, goal: Goal, position: np.ndarray, rotation: np.ndarray) -> np.ndarray:
        return np.concatenate([goal.position, matrix_to_rotation_6d(goal.rotation), [goal.gripper]]).astype(np.float32)

    def hold(self, last: np.ndarray | None, observation: Mapping[str, np.ndarray]) -> np.ndarray:
        if last is not None:
            return last
        own = self.prefix
        if f"{own}eef_rot6d" in observation:
            rotation = observation[f"{own}eef_rot6d"]
        else:  # robosuite's names of the only robot begin with a number, too
            own = own or "robot0_"
            hand = np.array(quaternion_rows(*observation[f"{own}eef_quat"].tolist()))
            rotation = matrix_to_rotation_6d(hand @ GRIP_IN_HAND)
        return np.concatenate([observation[f"{own}eef_pos"], rotation, [OPEN]]).astype(np.float32)

    def path(self, actions: np.ndarray) -> np.ndarray:
        return actions[:, :3]


class DeltaAction(HandAction):
    """robomimic's convention: normalised steps of position and axis-angle, here in the world frame for every robot.

    robomimic's frame is that of the robot's base, which is not turned in tasks of one arm.
    """

    name = "delta"
    quantities = {
        "step_pos": (3, f"1 = {MAX_STEP_M} m"),
        "step_rotvec": (3, f"1 = {MAX_STEP_RAD} rad"),
        "gripper": (1, GRIPPER_UNIT),
    }
    low, high = -np.ones(7, np.float32), np.ones(7, np.float32)

    def controller_options(self) -> dict[str, object]:
        return {"input_type": "delta", "input_ref_frame": "world"}

    def to_robosuite(self, action: np.ndarray) -> np.ndarray:
        return action.astype(np.float64)

    def from_goal(self, goal: Goal, position: np.ndarray, rotation: np.ndarray) -> np.ndarray:
        return np.clip(np.concatenate([*goal.step(position, rotation), [goal.gripper]]), -1, 1).astype(np.float32)

    def hold(self, last: np.ndarray | None, observation: Mapping[str, np.ndarray]) -> np.ndarray:
        gripper = OPEN if last is None else last[-1]
        return np.array([0, 0, 0, 0, 0, 0, gripper], np.float32)

    def path(self, actions: np.ndarray) -> np.ndarray:
        return MAX_STEP_M * actions[:, :3].cumsum(0)


class PlaneAction(BoundedAction):
    """PushT's convention: the pusher's goal position on the plane, in pixels of the 512 × 512 board."""

    name = "position"
    unit = "px"
    parts = {"goal_xy": 2}
    units = {"goal_xy": "px"}
    low, high = np.zeros(2, np.float32), np.full(2, 512.0, np.float32)

    def hold(self, last: np.ndarray | None, observation: Mapping[str, np.ndarray]) -> np.ndarray:
        return np.asarray(observation["agent_pos"] if last is None else last, np.float32)

    def path(self, actions: np.ndarray) -> np.ndarray:
        return actions


class JointVelocityAction(BoundedAction):
    """Franka Kitchen's: velocities of the arm's joints and of both fingers, relative to the largest ones.

    Its simulator adds a step's movement to the measured joint positions and does not compensate gravity: an arm told to hold
    sags by up to 0.1 rad/s.
    """

    name = "joint-velocity"
    unit = "rad"
    parts = {"joint_velocities": 7, "finger_velocities": 2}
    units = {"joint_velocities": "1 = 2 rad/s", "finger_velocities": "1 = 2 m/s, opening"}
    low, high = -np.ones(9, np.float32), np.ones(9, np.float32)
    fastest = 2.0
    step_s = 0.08

    def hold(self, last: np.ndarray | None, observation: Mapping[str, np.ndarray]) -> np.ndarray:
        held = np.zeros(9, np.float32)
        if last is not None:
            held[7:] = last[7:]
        return held

    def path(self, actions: np.ndarray) -> np.ndarray:
        return self.fastest * self.step_s * actions[:, :7].cumsum(0)


HAND_CONVENTIONS: dict[str, HandConvention] = {c.name: c for c in (AbsoluteAction(), DeltaAction())}

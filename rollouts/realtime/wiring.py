"""Maps the quantities of a LeRobot robot to those of a policy, and checks them before the robot moves.

A robot of LeRobot observes and is commanded by single named values, such as `shoulder_pan.pos`, and has images named by
camera. LeRobot's policies observe all values in the robot's order as `observation.state`, and images as
`observation.images.NAME`; an action contains all of the robot's commands in its order.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

import numpy as np

from paradp.policy.features import Shape
from paradp.policy.spec import Interface

OBSERVATION, ACTION = "observation.", "action"
STATE, IMAGES = f"{OBSERVATION}state", f"{OBSERVATION}images."
# Suffixes of commands that hold a robot still with the value 0; others are positions.
VELOCITY = ".vel"


@dataclass(frozen=True)
class Renamed:
    """Names of a policy's quantities that differ from LeRobot's, as in `paradp.yaml`.

    Attributes:
        observation: LeRobot's key → the names and lengths of its parts, in order, or its single name.
        action: the names and lengths of an action's parts, in order; `None` if not given.
    """

    observation: Mapping[str, str | Mapping[str, int]]
    action: Mapping[str, int] | None = None


NOTHING = Renamed({})


@dataclass(frozen=True)
class Wiring:
    """The robot's names for each of a policy's keys.

    Attributes:
        vectors: the values of each vector, in order.
        images: the camera of each image.
        action: the commands, in the order of an action.
    """

    vectors: Mapping[str, tuple[str, ...]]
    images: Mapping[str, str]
    action: tuple[str, ...]

    @classmethod
    def of(
        cls, spec: Interface, observed: Mapping[str, Any], commanded: Mapping[str, Any], renamed: Renamed = NOTHING
    ) -> "Wiring":
        """Connects a policy and a robot.

        Args:
            spec: the policy's specification.
            observed: the robot's `observation_features`: a type for a value, height, width and channels of an image.
            commanded: its `action_features`.
            renamed: the policy's names for LeRobot's.

        Raises:
            ValueError: the robot lacks an observation of the policy or takes other commands, or it is unknown how to hold it
                still; the message names the first such quantity.
        """
        values = [name for name, kind in observed.items() if not isinstance(kind, tuple)]
        cameras = {name: kind for name, kind in observed.items() if isinstance(kind, tuple)}
        shapes = spec.observation
        vectors = {key: size for key, size in shapes.items() if isinstance(size, int)}
        found = cls(
            _vectors(vectors, values, renamed.observation),
            {key: _camera(key, shape, cameras, renamed.observation) for key, shape in shapes.items() if key not in vectors},
            _commands(spec.action, list(commanded), renamed.action),
        )
        for name in found.action:
            if name not in values and not name.endswith(VELOCITY):
                raise ValueError(f"how to hold the robot still is not known: it does not observe its command {name!r}")
        return found

    def observation(self, values: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """Converts the robot's observation to the policy's, as a copy.

        Raises:
            ValueError: the robot did not observe something.
        """
        if missing := [name for name in self._needed if name not in values]:
            raise ValueError(f"the robot's observation lacks {missing[0]!r}; it has: {_list(values)}")
        vectors = {key: np.array([values[name] for name in names], np.float32) for key, names in self.vectors.items()}
        return vectors | {key: np.array(values[camera]) for key, camera in self.images.items()}

    def commands(self, action: np.ndarray) -> dict[str, float]:
        """Converts an action to the robot's commands."""
        return dict(zip(self.action, action.tolist(), strict=True))

    def hold(self, last: np.ndarray | None, values: Mapping[str, Any]) -> np.ndarray:
        """Returns the action that holds the robot at its last goal or, before the first, at its observed position."""
        at = dict(zip(self.action, last.tolist(), strict=True)) if last is not None else values
        return np.array([0.0 if name.endswith(VELOCITY) else at[name] for name in self.action], np.float32)

    def check_hold(self, values: Mapping[str, Any]) -> None:
        """Checks that the robot can be held at its observed position.

        Raises:
            ValueError: the position of a motor is not a finite number.
        """
        for name, at in zip(self.action, self.hold(None, values).tolist(), strict=True):
            if not isfinite(at):
                raise ValueError(f"its {name!r} is {at}, so that it could not be held still")

    @property
    def _needed(self) -> list[str]:
        """The observations that the policy needs, and those needed to hold the robot still."""
        positions = [name for name in self.action if not name.endswith(VELOCITY)]
        return [*(name for names in self.vectors.values() for name in names), *self.images.values(), *positions]


def _vectors(
    wanted: Mapping[str, int], values: Sequence[str], renamed: Mapping[str, str | Mapping[str, int]]
) -> dict[str, tuple[str, ...]]:
    """Finds the values of each vector: a single value of that name, `observation.state`, or a part of it."""
    parts = renamed.get(STATE, STATE)
    parts = {parts: wanted.get(parts, 0)} if isinstance(parts, str) else parts
    by_name = {key: (key,) for key, size in wanted.items() if size == 1 and key in values}
    in_state = [key for key in wanted if key in parts and key not in by_name]
    if in_state and (size := sum(parts.values())) != len(values):
        raise ValueError(f"the policy's {STATE} has {size} values, the robot's {len(values)}: {_list(values)}")
    ends = np.cumsum(list(parts.values())).tolist()
    slices = {key: tuple(values[end - size : end]) for (key, size), end in zip(parts.items(), ends, strict=True)}
    found = by_name | {key: slices[key] for key in in_state}
    for key in wanted:
        if key not in found:
            raise ValueError(f"the robot does not observe {key!r}, which the policy sees; its values are: {_list(values)}")
    return {key: found[key] for key in wanted}


def _camera(key: str, shape: Shape, cameras: Mapping[str, Shape], renamed: Mapping[str, str | Mapping[str, int]]) -> str:
    theirs = next((their for their, ours in renamed.items() if ours == key), key)
    name = theirs.removeprefix(IMAGES)
    if name not in cameras:
        raise ValueError(f"the robot has no camera {name!r}, which the policy looks through; it has: {_list(cameras)}")
    if cameras[name] != shape:
        raise ValueError(f"the robot's camera {name!r} has images of {cameras[name]}, the policy was trained with {shape}")
    return name


def _commands(action: Mapping[str, int], names: Sequence[str], renamed: Mapping[str, int] | None) -> tuple[str, ...]:
    """Orders the commands: by name if each part of an action is a command, else in the robot's order."""
    size = sum(action.values())
    if set(action) <= set(names) and size == len(action):
        if extra := [name for name in names if name not in action]:
            raise ValueError(
                f"the robot takes a command {extra[0]!r}, which the policy does not give; it gives: {_list(action)}"
            )
        return tuple(action)
    if list(action) != [ACTION] and action != renamed:
        foreign = next(name for name in action if name not in names or action[name] != 1)
        raise ValueError(f"the policy's actions have {foreign!r}, and the robot takes: {_list(names)}")
    if size != len(names):
        raise ValueError(f"the policy's actions have {size} values, the robot takes {len(names)}: {_list(names)}")
    return tuple(names)


def _list(names: Iterable[str]) -> str:
    return ", ".join(names) or "nothing"

"""Which quantities of a LeRobot robot are which of a policy's, checked before the robot moves.

A robot of LeRobot's observes and takes single values by name, such as `shoulder_pan.pos`, and images by their camera's name.
LeRobot's policies see all values together, `observation.state`, in the robot's order; images as `observation.images.NAME`;
and an action is all of the robot's commands, in its order.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from paradp.policy.features import Shape
from paradp.policy.spec import Interface

STATE, IMAGES, ACTION = "observation.state", "observation.images.", "action"
# Commands that hold a robot still by their being 0; others are positions.
VELOCITY = ".vel"


@dataclass(frozen=True)
class Renamed:
    """Names that a policy's quantities have in place of LeRobot's, as `paradp.yaml` says them.

    Attributes:
        observation: LeRobot's key → the names and lengths of its parts, in order, or its one name.
        action: the names and lengths of an action's parts, in order; `None` where they are not given.
    """

    observation: Mapping[str, str | Mapping[str, int]]
    action: Mapping[str, int] | None = None


NOTHING = Renamed({})


@dataclass(frozen=True)
class Wiring:
    """A robot's names by a policy's keys.

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
            spec: of the policy.
            observed: the robot's `observation_features`: a type for a value, height, width and channels of an image.
            commanded: its `action_features`.
            renamed: the policy's names for LeRobot's.

        Raises:
            ValueError: the robot does not observe what the policy sees, takes other commands, or it is not known how to hold
                it still; the message names the first quantity of which that is so.
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
        """What a policy sees of what the robot observed, in memory of its own.

        Raises:
            ValueError: the robot did not observe something.
        """
        if missing := [name for name in self._needed if name not in values]:
            raise ValueError(f"the robot's observation lacks {missing[0]!r}; it has: {_list(values)}")
        vectors = {key: np.array([values[name] for name in names], np.float32) for key, names in self.vectors.items()}
        return vectors | {key: np.array(values[camera]) for key, camera in self.images.items()}

    def commands(self, action: np.ndarray) -> dict[str, float]:
        """An action as the robot takes it."""
        return dict(zip(self.action, action.tolist(), strict=True))

    def hold(self, last: np.ndarray | None, values: Mapping[str, Any]) -> np.ndarray:
        """The action that holds the robot where the last one put it, or without one, where it observed itself."""
        at = dict(zip(self.action, last.tolist(), strict=True)) if last is not None else values
        return np.array([0.0 if name.endswith(VELOCITY) else at[name] for name in self.action], np.float32)

    @property
    def _needed(self) -> list[str]:
        """What the policy sees, and what it takes to hold the robot still."""
        positions = [name for name in self.action if not name.endswith(VELOCITY)]
        return [*(name for names in self.vectors.values() for name in names), *self.images.values(), *positions]


def _vectors(
    wanted: Mapping[str, int], values: Sequence[str], renamed: Mapping[str, str | Mapping[str, int]]
) -> dict[str, tuple[str, ...]]:
    """A vector is a single value of that name, `observation.state`, or a part of that."""
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
    """By their names, where each part of an action is a command's; else in the robot's order."""
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

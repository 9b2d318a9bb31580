"""Disturbances: they push or move the task's first object during an episode, so that a late reaction costs reward.

| disturbance | effect on the object |
| --- | --- |
| `push` | it is pushed aside by some centimetres shortly after the hand comes near |
| `belt` | it moves back and forth at constant speed while it lies on the table |

A disturbance does not act on an object that the robot touches, so a grasped object is safe and a fast robot has an
advantage. The object stays inside the task's `area`, so that a slow robot can still succeed.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from paradp.envs.lookup import find

GRAVITY = 9.81
# Corners (x, y) of a rectangle on the table, low and high, metres in the world frame.
Area = tuple[tuple[float, float], tuple[float, float]]


class LooseObject:
    """A freely moving body that a disturbance acts on. Lengths in m, velocities in m/s, world frame.

    Args:
        sim: robosuite's simulation.
        body: index of the MuJoCo body.
        area: limits of its position.
        control_seconds: length of a control step.

    Raises:
        ValueError: the body has no free joint.
    """

    def __init__(self, sim: Any, body: int, area: Area, control_seconds: float):
        model = sim.model
        joint = model.body_jntadr[body]
        if joint < 0 or model.jnt_type[joint] != 0:  # mjJNT_FREE
            raise ValueError(f"the body {model.body_id2name(body)!r} does not move freely, so it cannot be disturbed")
        self.low, self.high = np.array(area)
        self._sim = sim
        self._body = body
        self._qpos, self._qvel = model.jnt_qposadr[joint], model.jnt_dofadr[joint]
        self._control_seconds = control_seconds
        # Bodies welded together count as one; index 0 means all fixed bodies.
        self._moves_as = model.body_weldid[model.geom_bodyid]

    @property
    def _data(self) -> Any:
        # Not stored, because closing the simulator frees it.
        return self._sim.data

    @property
    def position(self) -> np.ndarray:
        """The position of its centre, `[3]`."""
        return self._data.qpos[self._qpos : self._qpos + 3].copy()

    @property
    def rests(self) -> bool:
        """Whether it lies on a fixed body, and touches nothing else, such as the robot."""
        pairs = self._moves_as[self._data.contact.geom]
        # In each contact pair that contains it, the sum minus its own index is the other body.
        partners = pairs[(pairs == self._body).any(1)].sum(1) - self._body
        return len(partners) > 0 and not partners.any()

    def inside(self, velocity: np.ndarray) -> bool:
        """Whether it will be in the area after a control step at a velocity `[2]`."""
        there = self.position[:2] + velocity * self._control_seconds
        return bool((self.low <= there).all() and (there <= self.high).all())

    def carry(self, velocity: np.ndarray) -> None:
        """Moves it horizontally for one control step at a velocity `[2]`, like a moving floor."""
        self._data.qpos[self._qpos : self._qpos + 2] += velocity * self._control_seconds

    def knock(self, velocity: np.ndarray) -> None:
        """Sets its horizontal velocity `[2]`; friction then stops it."""
        self._data.qvel[self._qvel : self._qvel + 2] = velocity


class ObjectDisturbance(Protocol):
    """The interface of a disturbance. All its randomness comes from its generator.

    `acted` is true once it has acted in this episode.
    """

    acted: bool

    def reset(self, rng: np.random.Generator) -> None:
        """Begins an episode."""

    def apply(self, thing: LooseObject, hand: np.ndarray) -> None:
        """Acts before a control step, given the grip site's position `[3]` (m)."""


@dataclass
class PushDisturbance:
    """Pushes the object aside some steps after the hand comes near; repeatedly, until the robot has grasped it.

    Directions are uniform among those that keep the object in the task's area. There is no push if the robot touches the
    object at that moment.

    Attributes:
        near_m: distance between grip site and object centre that triggers a push.
        delay_steps: range of the delay in control steps; after a push the hand must come near again.
        distance_m: range of the sliding distance, for the friction coefficient of 1 of the tables here.
    """

    near_m: float = 0.12
    delay_steps: tuple[int, int] = (10, 50)
    distance_m: tuple[float, float] = (0.03, 0.05)

    def reset(self, rng: np.random.Generator) -> None:
        self.acted = False
        self._rng = rng
        self._wait: int | None = None

    def apply(self, thing: LooseObject, hand: np.ndarray) -> None:
        if self._wait is None:
            if np.linalg.norm(hand - thing.position) < self.near_m:
                self._wait = int(self._rng.integers(*self.delay_steps, endpoint=True))
        elif self._wait > 0:
            self._wait -= 1
        else:
            self._wait = None
            if thing.rests:
                self._knock(thing)

    def _knock(self, thing: LooseObject) -> None:
        distance, angles = self._rng.uniform(*self.distance_m), self._rng.uniform(0, 2 * np.pi, 32)
        directions = np.stack([np.cos(angles), np.sin(angles)], axis=1)
        ends = thing.position[:2] + distance * directions
        outside = np.maximum(thing.low - ends, ends - thing.high).max(1).clip(0)
        thing.knock(np.sqrt(2 * GRAVITY * distance) * directions[outside.argmin()])
        self.acted = True


@dataclass
class BeltDisturbance:
    """Moves the object back and forth along y over the task's area, like a conveyor belt.

    It has no effect on an object that the robot touches, or that lies outside the area.

    Attributes:
        speed: speed in m/s.
    """

    speed: float = 0.04

    def reset(self, rng: np.random.Generator) -> None:
        self.acted = False
        self._way = 1 - 2 * int(rng.integers(2))

    def apply(self, thing: LooseObject, hand: np.ndarray) -> None:
        if not (thing.rests and thing.inside(np.zeros(2))):
            return
        velocity = np.array([0.0, self._way * self.speed])
        if not thing.inside(velocity):
            self._way, velocity = -self._way, -velocity
        thing.carry(velocity)
        self.acted = True


DISTURBANCES: dict[str, Callable[[], ObjectDisturbance]] = {"push": PushDisturbance, "belt": BeltDisturbance}


def find_disturbance(name: str) -> Callable[[], ObjectDisturbance]:
    """The class of a disturbance by name.

    Raises:
        ValueError: the name is unknown; the message lists all names and the closest one.
    """
    return find(DISTURBANCES, name, "disturbance")

"""What happens to an object while the robot acts, so that a late reaction costs reward: it is pushed, or drifts on a belt.

| disturbance | the task's first object |
| --- | --- |
| `push` | is knocked some centimetres aside a moment after the hand has come near it |
| `belt` | drifts to and fro at a constant speed for as long as it lies on the table |

An object that the robot touches is left alone: what is grasped is not torn away, and a fast robot is rewarded.
Both keep the object inside the task's `area`, so that a patient robot can always succeed.
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
    """A body that moves freely, as a disturbance sees and moves it. Lengths in m, velocities in m/s, world frame.

    Args:
        sim: robosuite's simulation.
        body: the MuJoCo body's index.
        area: where a disturbance may take it to.
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
        # Bodies welded to each other count as one; 0 is all that never moves.
        self._moves_as = model.body_weldid[model.geom_bodyid]

    @property
    def _data(self) -> Any:
        # Not kept: whoever closes the simulator frees it.
        return self._sim.data

    @property
    def position(self) -> np.ndarray:
        """Of its centre, `[3]`."""
        return self._data.qpos[self._qpos : self._qpos + 3].copy()

    @property
    def rests(self) -> bool:
        """Whether it lies on something that never moves and touches nothing else, such as the robot."""
        pairs = self._moves_as[self._data.contact.geom]
        # Of a pair that it is in, the sum less itself is the other one.
        partners = pairs[(pairs == self._body).any(1)].sum(1) - self._body
        return len(partners) > 0 and not partners.any()

    def inside(self, velocity: np.ndarray) -> bool:
        """Whether it is in the area a control step from now, taken along at a velocity `[2]`."""
        there = self.position[:2] + velocity * self._control_seconds
        return bool((self.low <= there).all() and (there <= self.high).all())

    def carry(self, velocity: np.ndarray) -> None:
        """Takes it along horizontally for one control step, at a velocity `[2]`, as the ground beneath it would."""
        self._data.qpos[self._qpos : self._qpos + 2] += velocity * self._control_seconds

    def knock(self, velocity: np.ndarray) -> None:
        """Gives it a horizontal velocity `[2]`, from which friction brings it to rest."""
        self._data.qvel[self._qvel : self._qvel + 2] = velocity


class ObjectDisturbance(Protocol):
    """Moves an object as it likes, with no randomness but its generator's.

    `acted` says whether it has done so in this episode.
    """

    acted: bool

    def reset(self, rng: np.random.Generator) -> None:
        """Begins an episode."""

    def apply(self, thing: LooseObject, hand: np.ndarray) -> None:
        """Acts before a control step, given the grip site's position `[3]` (m)."""


@dataclass
class PushDisturbance:
    """Knocks the object aside some moments after the hand has come near, and again and again for as long as it can.

    Directions are uniform among those that leave the object in the task's area. If the robot touches the object at the
    moment of a push, that push does not happen: a quick robot has grasped it by then.

    Attributes:
        near_m: how near the grip site must be to the object's centre.
        delay_steps: control steps from then until the push, from … to; after a push it must be near anew.
        distance_m: how far the object slides, from … to, at a friction coefficient of 1 (that of the tables here).
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
    """Carries the object sideways (along y) over the task's area, one way or the other, and turns round at its ends.

    It slips under an object that the robot touches, and ends where the area ends: what lies beyond stays there.

    Attributes:
        speed: in m/s.
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
    """What makes a disturbance of that name.

    Raises:
        ValueError: there is none; the message names those there are and the nearest.
    """
    return find(DISTURBANCES, name, "disturbance")

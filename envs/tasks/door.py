"""Door: grasp the handle from the front or from above, turn it down or up until the latch is free, pull the door open."""

from dataclasses import dataclass

import numpy as np

from paradp.envs.actions import CLOSE, OPEN, Goal
from paradp.envs.experts.waypoints import HAND_DOWN, Pose, Scene, Script, ScriptedExpert
from paradp.envs.robosuite_task import RobosuiteTask
from paradp.envs.rotations import matrix_to_rotvec, rotvec_to_matrix, yaw_matrix
from paradp.envs.success import door_is_open
from paradp.envs.task import TaskEntry

# Geometry in the door's frame (x towards the hinge, y away from the robot, z up; m). OUT_M: y of the handle relative to the
# latch's axis; along x the handle extends from this axis towards the hinge. HINGE: the hinge relative to the door's centre.
OUT_M = -0.10
HINGE = np.array([0.255, 0.0, 0.0])
# Target and largest angle of the handle (rad): the latch is free from 1.2 on, and the handle's mechanical stop is at 1.57.
FREE_RAD, STOP_RAD = 1.35, 1.55
# Lead of the goal over the hand while it turns the handle, and while it pulls the door (rad).
TURN_AHEAD, PULL_AHEAD = 0.3, 0.2


@dataclass(frozen=True)
class HandleWay:
    """One of the ways to open the door.

    Attributes:
        lean: pitch of the hand: 0 points down, π/2 points at the door (rad).
        side: +1 turns the handle down, −1 turns it up.
        follow: rotation of the hand as a share of the handle's rotation.
    """

    lean: float
    side: float
    follow: float


FROM_FRONT_DOWN, FROM_FRONT_UP, FROM_ABOVE = HandleWay(1.4, 1.0, 1.0), HandleWay(1.4, -1.0, 1.0), HandleWay(0.5, 1.0, 0.5)


class DoorExpert(ScriptedExpert):
    """Grasps the handle from the front or from above, turns it down or up, and pulls the door open."""

    objects = ("door", "latch")

    def script(self, scene: Scene) -> Script:
        while True:
            way = self._choose()
            along = 0.1 + 2 * self.spread(self._variety.grasp_m, 1)[0]
            scene = yield from self._grasp(scene, way, along)
            if not _lost(scene):
                scene = yield from self._turn(scene, way, along)
                scene = yield from self._pull(scene, way, along)
            scene = yield from self.hold(scene, OPEN, 4)
            back = scene.eef_pos - 0.1 * scene.eef_rotation[:, 2], scene.eef_rotation
            scene = yield from self.move(scene, lambda now, back=back: back, OPEN, tolerance_m=0.03)

    def _choose(self) -> HandleWay:
        if self._variety.whim_rad == 0:
            return FROM_FRONT_DOWN
        way = (FROM_FRONT_DOWN, FROM_FRONT_UP, FROM_ABOVE)[self.rng.integers(3)]
        return HandleWay(way.lean + self.spread(self._variety.whim_rad / 2, 1)[0], way.side, way.follow)

    def _grasp(self, scene: Scene, way: HandleWay, along: float) -> Script:
        detour = np.array([0.0, 0.0, 0.04]) + self.spread(self._variety.via_m)

        def away(now: Scene, distance: float) -> Pose:
            position, rotation = _hand(now, way, along, _turned(now))
            return position - distance * rotation[:, 2], rotation

        def past(scene: Scene) -> Pose:
            position, rotation = away(scene, 0.1)
            return position - 0.06 * scene.objects["door"].rotation[:, 1] + detour, rotation

        scene = yield from self.move(scene, past, OPEN, 0.03, 0.4)
        scene = yield from self.move(scene, lambda now: away(now, 0.07), OPEN, 0.015, 0.15)
        scene = yield from self.move(scene, lambda now: away(now, 0.0), OPEN, 0.012, 0.2, speed=0.7, timeout=30)
        return (yield from self.hold(scene, CLOSE, 5))

    def _turn(self, scene: Scene, way: HandleWay, along: float) -> Script:
        """Turns the handle until the latch is free: the hand moves on an arc about the latch's axis."""
        ahead = TURN_AHEAD * self.rng.uniform(*self._variety.speed)
        for step in range(60):
            angle = _turned(scene)
            if way.side * angle > FREE_RAD or _lost(scene):
                break
            # The torque of the handle's spring grows with the angle, so the goal's lead grows with each step.
            wanted = angle + way.side * (ahead + 0.005 * step)
            position, rotation = _hand(scene, way, along, float(np.clip(wanted, -STOP_RAD, STOP_RAD)))
            scene = yield Goal(position, rotation, CLOSE)
        return scene

    def _pull(self, scene: Scene, way: HandleWay, along: float) -> Script:
        """Pulls the door about its hinge and keeps the handle turned."""
        step = yaw_matrix(PULL_AHEAD * self.rng.uniform(*self._variety.speed))
        for _ in range(40):
            if _lost(scene):
                break
            door = scene.objects["door"]
            hinge = door.position + door.rotation @ HINGE
            slack = way.side * FREE_RAD - _turned(scene)
            wanted = float(np.clip(way.side * FREE_RAD + 0.3 * slack, -STOP_RAD, STOP_RAD))
            position, rotation = _hand(scene, way, along, wanted)
            scene = yield Goal(hinge + step @ (position - hinge), step @ rotation, CLOSE)
        return scene


def _hand(scene: Scene, way: HandleWay, along: float, angle: float) -> Pose:
    """The hand's pose at the distance `along` (m) from the latch's axis on the handle, with the handle turned by `angle`."""
    door = scene.objects["door"].rotation
    position = scene.objects["latch"].position + door @ _about_y(angle) @ np.array([along, OUT_M, 0.0])
    lean = rotvec_to_matrix(np.array([way.lean, 0.0, 0.0]))
    return position, door @ _about_y(way.follow * angle) @ lean @ yaw_matrix(np.pi) @ HAND_DOWN


def _about_y(angle: float) -> np.ndarray:
    return rotvec_to_matrix(np.array([0.0, angle, 0.0]))


def _turned(scene: Scene) -> float:
    """The handle's angle relative to the door, positive when it points down (rad)."""
    return float(matrix_to_rotvec(scene.objects["door"].rotation.T @ scene.objects["latch"].rotation)[1])


def _lost(scene: Scene) -> bool:
    """Whether the fingers have closed without the handle between them."""
    return scene.opening < 0.02


DOOR = TaskEntry(
    RobosuiteTask(
        name="door",
        robosuite_name="Door",
        objects={"door": "Door_door", "latch": "Door_latch"},
        success=door_is_open,
        success_rule="the door stands open by more than 0.3 rad",
        replayable=False,  # the simulator's state does not contain the door's position
    ),
    DoorExpert,
)

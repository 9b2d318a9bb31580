"""TwoArmLift: each of two arms takes a handle of the pot, together or one after the other; both lift it level."""

from dataclasses import dataclass

import numpy as np

from paradp.envs.actions import CLOSE, OPEN, Goal
from paradp.envs.experts.holding import point_of
from paradp.envs.experts.waypoints import HAND_DOWN, HAND_YAW_RANGE, Pose, Scene, Script, ScriptedExpert, Thing
from paradp.envs.robosuite_task import TwoArmTask
from paradp.envs.rotations import rotvec_to_matrix, wrap_angle, yaw_matrix
from paradp.envs.success import pot_is_lifted
from paradp.envs.task import TaskEntry

# Where the bar of a handle is in the pot's frame (m): along y, on this side for each hand, and above the pot's centre.
HANDLE_Y, HANDLE_Z = 0.16, 0.06
SIDE = {"robot0_": 1.0, "robot1_": -1.0}
# Rotation of each arm's base about the vertical (rad).
BASE_YAW = {"robot0_": np.pi / 2, "robot1_": -np.pi / 2}
# Further back towards its arm a hand runs into the limits of the joints (rad).
MOST_LEAN = 0.1
# Height of the pot's centre on the table, and of its goal (m).
RESTS_Z, LIFTED_Z = 0.87, 1.0
# How far above the lower handle, or below the upper one, a hand's goal is while the pot moves (m).
AHEAD_M = 0.035
# Control steps until an arm no longer waits for the other one, or for the pot to be lifted.
PATIENCE = 80
# Most control steps until the fingers are closed.
CLOSING = 12


@dataclass(frozen=True)
class HandleGrip:
    """One of the ways to hold a handle.

    Attributes:
        along: distance from the middle of the bar (m).
        lean: how far the hand is raised from pointing down, towards its arm (rad).
        turn: 0 or π, about the axis of the fingers' closing: which finger is inside.
    """

    along: float
    lean: float
    turn: float


class TwoArmLiftExpert(ScriptedExpert):
    """Each hand grasps the handle on its side, at once or after the other; then both lift the pot.

    The hands only know of each other what is observed: whether the other one holds its handle, and how the pot lies.
    """

    objects = ("pot",)
    convention = "two-arm-absolute"

    def reset(self, seed: int | None = None) -> None:
        super().reset(seed)
        # The hand that waits until the other one holds its handle, if any.
        self._second = None if self._variety.whim_rad == 0 else [None, *SIDE][self.rng.integers(3)]

    def script(self, scene: Scene) -> Script:
        while True:
            grip = self._choose(scene)
            if scene.hand == self._second:
                scene = yield from self._wait(scene, grip)
            scene = yield from self._grasp(scene, grip)
            if _holds(scene):
                scene = yield from self._lift(scene)
            scene = yield from self.hold(scene, OPEN, 4)
            back = scene.eef_pos - 0.11 * scene.eef_rotation[:, 2], scene.eef_rotation
            scene = yield from self.move(scene, lambda now, back=back: back, OPEN, tolerance_m=0.03, timeout=25)

    def _choose(self, scene: Scene) -> HandleGrip:
        """Chooses a grip. The hand takes the nearer of two rotations, with a random preference between almost equal ones."""
        turns = [turn for turn in (0.0, np.pi) if HAND_YAW_RANGE[0] < _yaw(scene, turn) < HAND_YAW_RANGE[1]]
        whim = 3 * self.spread(self._variety.whim_rad, len(turns))
        costs = [abs(_yaw(scene, turn)) + w for turn, w in zip(turns, whim, strict=True)]
        along, lean = 2 * self.spread(self._variety.grasp_m, 1)[0], self.spread(self._variety.whim_rad, 1)[0]
        return HandleGrip(along, min(lean, MOST_LEAN), turns[int(np.argmin(costs))])

    def _wait(self, scene: Scene, grip: HandleGrip) -> Script:
        """Waits above the handle until the other hand holds its own."""
        height = 0.13 + self.spread(self._variety.via_m, 1)[0]
        scene = yield from self.move(scene, lambda now: _above(now, grip, height), OPEN, tolerance_m=0.02)
        for _ in range(PATIENCE):
            if _other_holds(scene):
                break
            scene = yield Goal(*_above(scene, grip, height), OPEN)
        return scene

    def _grasp(self, scene: Scene, grip: HandleGrip) -> Script:
        def handle(now: Scene, height: float) -> Pose:
            return _above(now, grip, height)

        scene = yield from self.grasp(scene, handle, (0.09, 0.06, -0.008), near_m=0.015, there_m=0.01, close_steps=5)
        position, rotation = scene.eef_pos, scene.eef_rotation
        for _ in range(CLOSING):
            if _holds(scene):
                break
            scene = yield Goal(position, rotation, CLOSE)
        return scene

    def _lift(self, scene: Scene) -> Script:
        """Raises the pot while both hands hold it; while the other one does not, keeps it on the table or sets it down."""
        ahead = AHEAD_M * self.rng.uniform(*self._variety.speed)
        top = LIFTED_Z + abs(self.spread(self._variety.via_m, 1)[0])
        begun, together, steps = scene, False, 0
        while _holds(scene) and steps < PATIENCE:
            steps += 1
            if together != _other_holds(scene):
                begun, together, steps = scene, not together, 0
            heights = [_height(scene, side) for side in SIDE.values()]
            height = min(top, min(heights) + ahead) if together else max(RESTS_Z, max(heights) - ahead)
            rise = np.array([0.0, 0.0, height - _height(begun, SIDE[scene.hand])])
            scene = yield Goal(begun.eef_pos + rise, begun.eef_rotation, CLOSE)
        return scene


def _handle(pot: Thing, side: float, along: float) -> np.ndarray:
    """A place on the bar of a handle (m)."""
    return point_of(pot, np.array([along, side * HANDLE_Y, HANDLE_Z]))


def _height(scene: Scene, side: float) -> float:
    """Height of a handle, as that of the centre of a level pot (m)."""
    return float(_handle(scene.objects["pot"], side, 0.0)[2]) - HANDLE_Z


def _above(scene: Scene, grip: HandleGrip, height: float) -> Pose:
    """The hand's pose at a distance (m) from holding its handle."""
    pot, side = scene.objects["pot"], SIDE[scene.hand]
    lean = rotvec_to_matrix(np.array([-side * grip.lean, 0.0, 0.0]))
    rotation = pot.rotation @ lean @ yaw_matrix(grip.turn) @ HAND_DOWN
    return _handle(pot, side, grip.along) - height * rotation[:, 2], rotation


def _yaw(scene: Scene, turn: float) -> float:
    """Rotation of the hand from HAND_DOWN in the frame of its arm's base, about the vertical (rad)."""
    return wrap_angle(scene.objects["pot"].yaw + turn - BASE_YAW[scene.hand])


def _holds(scene: Scene) -> bool:
    """Whether the fingers are closed around the bar of the hand's handle."""
    off = scene.objects["pot"].rotation.T @ (scene.eef_pos - _handle(scene.objects["pot"], SIDE[scene.hand], 0.0))
    return bool(0.012 < scene.opening < 0.035 and abs(off[0]) < 0.06 and np.linalg.norm(off[1:]) < 0.04)


def _other_holds(scene: Scene) -> bool:
    [other] = scene.others
    return _holds(other)


TWO_ARM_LIFT = TaskEntry(
    TwoArmTask(
        name="two-arm-lift",
        robosuite_name="TwoArmLift",
        objects={"pot": "pot_root"},
        success=pot_is_lifted,
        success_rule="the bottom of the pot is more than 10 cm above the table",
    ),
    TwoArmLiftExpert,
)

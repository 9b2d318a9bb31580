"""Square: grasp the nut's handle, turn the nut square to the peg, lower it."""

import numpy as np

from paradp.envs.actions import CLOSE, OPEN
from paradp.envs.experts.waypoints import HAND_DOWN, HAND_YAW_RANGE, Pose, PoseOf, Scene, Script, ScriptedExpert
from paradp.envs.robosuite_task import RobosuiteTask
from paradp.envs.rotations import wrap_angle, yaw_matrix
from paradp.envs.success import nut_is_on_peg
from paradp.envs.task import TaskEntry

PEG_XY = np.array([0.23, 0.10])
PEG_TOP_Z = 0.95
HOVER_Z, DOWN_Z = 0.985, 0.85
HANDLE_M = 0.054  # from the nut's centre along its x axis
# Turning the hand further out drives joint 4 into its limit.
TURN_X = 0.05


class SquareExpert(ScriptedExpert):
    """Grasps the nut by its handle and lowers it onto the peg."""

    objects = ("nut",)

    def script(self, scene: Scene) -> Script:
        while True:
            hand_yaw, turn = self._choose_yaws(scene)
            scene = yield from self._grasp(scene, hand_yaw)
            if not _lost(scene):
                nut_yaw = wrap_angle(scene.objects["nut"].yaw + turn)
                scene = yield from self._carry(scene, nut_yaw)
                scene = yield from self.move(scene, _onto_peg(nut_yaw), CLOSE, tolerance_m=0.0, timeout=100, lost=_lost)
            scene = yield from self.hold(scene, OPEN, 3)

    def _choose_yaws(self, scene: Scene) -> tuple[float, float]:
        """Chooses the hand's rotation for grasping the handle, and the nut's rotation for the peg.

        Two grasps and several quarter turns are possible; the smallest rotation wins, with a random preference between
        almost equal ones. A handle that points away from the robot over the peg is out of the arm's reach.
        """
        nut_yaw = scene.objects["nut"].yaw
        options = [
            (hand, final - nut_yaw)
            for final in np.arange(-4, 5) * np.pi / 2
            for hand in nut_yaw + np.arange(-2, 3) * np.pi
            if np.cos(final) < 0.5 and _reachable(hand) and _reachable(hand + final - nut_yaw)
        ]
        whim = 2 * self.spread(self._variety.whim_rad, len(options))
        costs = [abs(hand) + abs(hand + turn) + abs(turn) + w for (hand, turn), w in zip(options, whim, strict=True)]
        return options[int(np.argmin(costs))]

    def _grasp(self, scene: Scene, hand_yaw: float) -> Script:
        rotation = yaw_matrix(hand_yaw) @ HAND_DOWN
        along = HANDLE_M + self.spread(self._variety.grasp_m, 1)[0]

        def handle(now: Scene, height: float) -> Pose:
            return now.objects["nut"].position + now.objects["nut"].rotation[:, 0] * along + [0, 0, height], rotation

        return (yield from self.grasp(scene, handle, (0.08, 0.05, -0.002), near_m=0.012, there_m=0.006, close_steps=7))

    def _carry(self, scene: Scene, nut_yaw: float) -> Script:
        """Lifts the nut and rotates it where there is space."""
        height = PEG_TOP_Z + 0.05 + abs(self.spread(self._variety.via_m, 1)[0])
        via = np.append(np.array([TURN_X - 0.04, 0.12]) + self.spread(self._variety.via_m, 2), height)
        scene = yield from self.move(scene, _lifted(scene, height), CLOSE, tolerance_m=0.04, tolerance_rad=0.5, lost=_lost)
        return (yield from self.move(scene, _nut_at(via, nut_yaw), CLOSE, 0.04, 0.15, timeout=80, lost=_lost))


def _onto_peg(yaw: float) -> PoseOf:
    """Holds the nut above the peg until it is aligned, then lowers it; lifts it again if it catches and slips aside."""

    def pose_of(scene: Scene) -> Pose:
        aside = float(np.abs(scene.objects["nut"].position[:2] - PEG_XY).max())
        askew = abs(wrap_angle(scene.objects["nut"].yaw - yaw))
        aligned = aside < 0.006 and askew < 0.06
        down = aligned or (scene.objects["nut"].position[2] < PEG_TOP_Z and aside < 0.012)
        return _nut_at(np.append(PEG_XY, DOWN_Z if down else HOVER_Z), yaw)(scene)

    return pose_of


def _reachable(hand_yaw: float) -> bool:
    return HAND_YAW_RANGE[0] < hand_yaw < HAND_YAW_RANGE[1]


def _lost(scene: Scene) -> bool:
    """Whether the fingers closed on nothing, or the nut's handle is not between them."""
    handle = scene.objects["nut"].position + scene.objects["nut"].rotation[:, 0] * HANDLE_M
    return scene.opening < 0.02 or float(np.linalg.norm(handle - scene.eef_pos)) > 0.03


def _lifted(start: Scene, height: float) -> PoseOf:
    position = np.append(start.eef_pos[:2], height + start.eef_pos[2] - start.objects["nut"].position[2])
    return lambda now: (position, start.eef_rotation)


def _nut_at(position: np.ndarray, yaw: float) -> PoseOf:
    """The hand's pose that brings the held nut to a position, level and at a yaw, however it lies in the hand."""

    def pose_of(scene: Scene) -> Pose:
        correction = yaw_matrix(yaw) @ scene.objects["nut"].rotation.T
        return position + correction @ (scene.eef_pos - scene.objects["nut"].position), correction @ scene.eef_rotation

    return pose_of


SQUARE = TaskEntry(
    RobosuiteTask(
        name="square",
        robosuite_name="NutAssemblySquare",
        recorded_as=("NutAssembly",),
        objects={"nut": "SquareNut_main"},
        success=nut_is_on_peg,
        success_rule="the square nut is on its peg: within 3 cm sideways of it, below z = 0.87 m, the hand 4.2 cm away",
        # Around the initial positions of nuts: x −0.115 to −0.11, y 0.11 to 0.225.
        area=((-0.16, 0.10), (-0.065, 0.235)),
    ),
    SquareExpert,
)

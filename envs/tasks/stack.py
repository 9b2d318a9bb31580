"""Stack: grasp the small cube across either pair of faces, set it on the large one."""

import numpy as np

from paradp.envs.actions import CLOSE, OPEN
from paradp.envs.experts.waypoints import HAND_DOWN, HAND_YAW_RANGE, Pose, Scene, Script, ScriptedExpert
from paradp.envs.robosuite_task import RobosuiteTask
from paradp.envs.rotations import wrap_angle, yaw_matrix
from paradp.envs.success import cubes_are_stacked
from paradp.envs.task import TaskEntry

# Distance between the centres of the stacked cubes.
STACKED_M = 0.045
CARRY_Z = 0.98
# Distance from the cube to an open finger.
FINGER_M = 0.05


class StackExpert(ScriptedExpert):
    """Grasps the small cube and sets it on the large one."""

    objects = ("cube_a", "cube_b")

    def script(self, scene: Scene) -> Script:
        while True:
            scene = yield from self._grasp(scene)
            if not _lost(scene):
                scene = yield from self._place(scene)
            scene = yield from self.hold(scene, OPEN, 4)
            above = scene.eef_pos + np.array([0, 0, 0.08]), scene.eef_rotation
            scene = yield from self.move(scene, lambda now, above=above: above, OPEN, tolerance_m=0.03, timeout=20)

    def _choose_yaw(self, scene: Scene) -> float:
        """Chooses the hand's yaw: square to the cube, with the fingers clear of the other one, and with little rotation."""
        cube, other = scene.objects["cube_a"], scene.objects["cube_b"]
        yaws = [yaw for yaw in wrap_angle(cube.yaw) + np.arange(-4, 5) * np.pi / 2 if _reachable(yaw)]
        whim = self.spread(5 * self._variety.whim_rad, len(yaws))

        def cost(yaw: float) -> float:
            # The fingers open along the grip site's x axis.
            fingers = yaw_matrix(yaw) @ HAND_DOWN[:, 0] * FINGER_M
            nearest = min(np.linalg.norm((cube.position + side * fingers - other.position)[:2]) for side in (-1, 1))
            return abs(yaw) + 100 * max(0.0, 0.045 - float(nearest))

        return yaws[int(np.argmin([cost(yaw) + w for yaw, w in zip(yaws, whim, strict=True)]))]

    def _grasp(self, scene: Scene) -> Script:
        rotation = yaw_matrix(self._choose_yaw(scene)) @ HAND_DOWN
        offset = np.append(self.spread(self._variety.grasp_m, 2), 0.0)

        def cube(now: Scene, height: float) -> Pose:
            return now.objects["cube_a"].position + offset + [0, 0, height], rotation

        return (yield from self.grasp(scene, cube, (0.09, 0.05, 0.0), near_m=0.012, there_m=0.008, close_steps=5))

    def _place(self, scene: Scene) -> Script:
        rotation = scene.eef_rotation
        up = np.append(scene.eef_pos[:2], CARRY_Z + abs(self.spread(self._variety.via_m, 1)[0]))
        off = np.append(self.spread(self._variety.grasp_m / 2, 2), 0.0)
        scene = yield from self.move(scene, lambda now: (up, rotation), CLOSE, 0.03, 0.5, timeout=30, lost=_lost)

        def over(now: Scene, height: float) -> Pose:
            """The hand's pose that brings the cube above the other one, however it lies in the hand."""
            held = now.eef_pos - now.objects["cube_a"].position
            return now.objects["cube_b"].position + held + off + [0, 0, STACKED_M + height], rotation

        scene = yield from self.move(scene, lambda now: over(now, 0.05), CLOSE, 0.012, 0.3, timeout=60, lost=_lost)
        return (yield from self.move(scene, lambda now: over(now, 0.004), CLOSE, 0.006, 0.3, timeout=30, lost=_lost))


def _reachable(yaw: float) -> bool:
    return HAND_YAW_RANGE[0] < yaw < HAND_YAW_RANGE[1]


def _lost(scene: Scene) -> bool:
    """Whether the fingers closed on nothing, or the cube is not between them."""
    return scene.opening < 0.02 or float(np.linalg.norm(scene.objects["cube_a"].position - scene.eef_pos)) > 0.04


STACK = TaskEntry(
    RobosuiteTask(
        name="stack",
        robosuite_name="Stack",
        objects={"cube_a": "cubeA_main", "cube_b": "cubeB_main"},
        success=cubes_are_stacked,
        success_rule="the small cube, 4 cm above the table or more, touches the large one and is not held",
    ),
    StackExpert,
)

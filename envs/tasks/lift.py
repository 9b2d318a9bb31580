"""Lift: grasp the cube across either pair of faces and raise it."""

import numpy as np

from paradp.envs.actions import CLOSE, OPEN
from paradp.envs.experts.waypoints import HAND_DOWN, Pose, Scene, Script, ScriptedExpert
from paradp.envs.robosuite_task import RobosuiteTask
from paradp.envs.rotations import wrap_angle, yaw_matrix
from paradp.envs.success import cube_is_lifted
from paradp.envs.task import TaskEntry

LIFT_Z = 0.92


class LiftExpert(ScriptedExpert):
    """Grasps the cube and raises it."""

    objects = ("cube",)

    def script(self, scene: Scene) -> Script:
        while True:
            scene = yield from self._grasp(scene)
            if scene.opening > 0.02:
                height = LIFT_Z + abs(self.spread(self._variety.via_m, 1)[0])
                target = np.append(scene.eef_pos[:2], height) + np.append(self.spread(self._variety.via_m, 2), 0.0)
                rotation = scene.eef_rotation
                scene = yield from self.move(
                    scene, lambda now, target=target, rotation=rotation: (target, rotation), CLOSE, tolerance_m=0.02
                )
            scene = yield from self.hold(scene, OPEN, 3)

    def _grasp(self, scene: Scene) -> Script:
        # Four rotations of the hand are equivalent; take the nearest, with a random preference between almost equal ones.
        yaw = wrap_angle(4 * (scene.objects["cube"].yaw + self.spread(self._variety.whim_rad, 1)[0])) / 4
        nearest = round((yaw - scene.objects["cube"].yaw) / (np.pi / 2)) * np.pi / 2 + scene.objects["cube"].yaw
        rotation = yaw_matrix(nearest) @ HAND_DOWN
        offset = np.append(self.spread(self._variety.grasp_m, 2), 0.0)

        def cube(now: Scene, height: float) -> Pose:
            return now.objects["cube"].position + offset + [0, 0, height], rotation

        return (yield from self.grasp(scene, cube, (0.07, 0.045, 0.0), near_m=0.015, there_m=0.01, close_steps=4))


LIFT = TaskEntry(
    RobosuiteTask(
        name="lift",
        robosuite_name="Lift",
        objects={"cube": "cube_main"},
        success=cube_is_lifted,
        success_rule="the cube is more than 4 cm above the table",
        # Cubes are placed within 3 cm of the table's centre.
        area=((-0.08, -0.08), (0.08, 0.08)),
    ),
    LiftExpert,
)

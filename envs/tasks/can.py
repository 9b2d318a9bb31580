"""Can: grasp the can from above, carry it over the wall between the bins, drop it into its own."""

import numpy as np

from paradp.envs.actions import CLOSE, OPEN
from paradp.envs.experts.waypoints import HAND_DOWN, Pose, Scene, Script, ScriptedExpert
from paradp.envs.robosuite_task import RobosuiteTask
from paradp.envs.rotations import yaw_matrix
from paradp.envs.success import object_is_in_bin
from paradp.envs.task import TaskEntry

# Well inside the can's quarter of the bin, whose centre is out of the arm's reach.
GOAL_XY = np.array([0.15, 0.34])
CARRY_Z, RELEASE_Z = 1.05, 0.93
# A can is round: the hand may grasp it from any side that it can reach.
LARGEST_YAW = 0.8


class CanExpert(ScriptedExpert):
    """The expert for a can, or for another object that can be grasped from any side.

    Attributes:
        objects: the object.
        goal_xy: position in the bins where it is released (m).
    """

    objects = ("can",)
    goal_xy = GOAL_XY

    def script(self, scene: Scene) -> Script:
        while True:
            scene = yield from self._grasp(scene)
            if not self._lost(scene):
                scene = yield from self._carry(scene)
            scene = yield from self.hold(scene, OPEN, 4)
            above = np.append(scene.eef_pos[:2], CARRY_Z), scene.eef_rotation
            scene = yield from self.move(scene, lambda now, above=above: above, OPEN, tolerance_m=0.03)

    def _grasp(self, scene: Scene) -> Script:
        yaw = self.spread(LARGEST_YAW / 2, 1)[0] * (self._variety.whim_rad > 0)
        rotation = yaw_matrix(yaw) @ HAND_DOWN
        offset = self.spread(self._variety.grasp_m) * [1.0, 1.0, 2.0]

        def can(now: Scene, height: float) -> Pose:
            return now.objects[self.objects[0]].position + offset + [0, 0, height], rotation

        return (yield from self.grasp(scene, can, (0.12, 0.08, 0.01), near_m=0.015, there_m=0.01, close_steps=6, timeout=30))

    def _carry(self, scene: Scene) -> Script:
        rotation = scene.eef_rotation
        height = CARRY_Z + abs(self.spread(self._variety.via_m, 1)[0])
        up = np.append(scene.eef_pos[:2], height)
        goal = self.goal_xy + self.spread(self._variety.via_m / 2, 2)
        scene = yield from self.move(scene, lambda now: (up, rotation), CLOSE, 0.04, 0.5, lost=self._lost)
        over = np.append(goal, height)
        scene = yield from self.move(scene, lambda now: (over, rotation), CLOSE, 0.03, 0.5, timeout=100, lost=self._lost)
        down = np.append(goal, RELEASE_Z)
        return (yield from self.move(scene, lambda now: (down, rotation), CLOSE, 0.02, 0.5, timeout=30, lost=self._lost))

    def _lost(self, scene: Scene) -> bool:
        """Whether the fingers closed on nothing, or the can is not between them."""
        away = float(np.linalg.norm(scene.objects[self.objects[0]].position - scene.eef_pos))
        return scene.opening < 0.02 or away > 0.06


CAN = TaskEntry(
    RobosuiteTask(
        name="can",
        robosuite_name="PickPlaceCan",
        recorded_as=("PickPlace",),
        objects={"can": "Can_main"},
        success=object_is_in_bin,
        success_rule="the can is over its bin, less than 10 cm above its floor, and the hand 4.2 cm away",
    ),
    CanExpert,
)

"""Camera images of a robosuite scene, and the robot's own state under robosuite's names."""

from typing import Any

import numpy as np

from paradp.envs.rendering import Frames
from paradp.envs.robosuite_task import RobosuiteTask
from paradp.envs.task import Features, images


class Cameras:
    """Renders the images of an observation, and reads the robot's own state.

    Args:
        task: the task, with the camera of each image.
        robosuite: robosuite's environment, with its simulation.
    """

    def __init__(self, task: RobosuiteTask, robosuite: Any):
        self._cameras = task.cameras
        self._sim = robosuite.sim
        robot = robosuite.robots[0]
        self._site = robot.eef_site_id["right"]
        self._hand = self._sim.model.body_name2id(robot.robot_model.eef_name["right"])
        self._fingers = [self._sim.model.get_joint_qpos_addr(name) for name in robot.gripper["right"].joints]
        self._frames = Frames(self._sim.model._model, task.image_size, task.image_size)

    def see(self) -> dict[str, np.ndarray]:
        """Returns the robot's own state."""
        data = self._sim.data
        seen = {
            "robot0_eef_pos": data.site_xpos[self._site],
            "robot0_eef_quat": data.body_xquat[self._hand][[1, 2, 3, 0]],  # MuJoCo's quaternions begin with w
            "robot0_gripper_qpos": data.qpos[self._fingers],
        }
        return {key: value.astype(np.float32) for key, value in seen.items()}

    def draw(self, features: Features) -> dict[str, np.ndarray]:
        """Renders the images among some features.

        Raises:
            OSError: frames cannot be drawn here; the message says why.
        """
        return {key: self._frames.draw(self._sim.data._data, self._cameras[key]) for key in images(features)}

    def close(self) -> None:
        """Frees the renderers."""
        self._frames.close()

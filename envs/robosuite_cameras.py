"""Camera images of a robosuite scene, and the robots' own state under robosuite's names."""

from typing import Any

import numpy as np

from paradp.envs.rendering import Frames
from paradp.envs.robosuite_hands import find_hands
from paradp.envs.robosuite_task import RobosuiteTask
from paradp.envs.task import Features, images


class Cameras:
    """Renders the images of an observation, and reads the robots' own state.

    Args:
        task: the task, with the camera of each image.
        robosuite: robosuite's environment, with its simulation.
    """

    def __init__(self, task: RobosuiteTask, robosuite: Any):
        self._cameras = task.cameras
        self._sim = robosuite.sim
        self._hands = find_hands(robosuite)
        self._frames = Frames(self._sim.model._model, task.image_size, task.image_size)

    def see(self) -> dict[str, np.ndarray]:
        """Returns the robots' own state."""
        data = self._sim.data
        seen: dict[str, np.ndarray] = {}
        for i, hand in enumerate(self._hands):
            seen |= {
                f"robot{i}_eef_pos": data.site_xpos[hand.site],
                f"robot{i}_eef_quat": data.body_xquat[hand.body][[1, 2, 3, 0]],  # MuJoCo's quaternions begin with w
                f"robot{i}_gripper_qpos": data.qpos[[*hand.fingers]],
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

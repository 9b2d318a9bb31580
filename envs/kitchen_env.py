"""Franka Kitchen of gymnasium-robotics as a gymnasium environment with paradp's observations and actions."""

import contextlib
import io
from typing import Any, ClassVar

import gymnasium
import numpy as np

from paradp.envs.actions import JointVelocityAction, check_action
from paradp.envs.conventions import ACTION_CONVENTIONS
from paradp.envs.kitchen_task import ENTRIES, SUBTASKS, KitchenTask
from paradp.envs.observing import space_of
from paradp.envs.rendering import Frames, choose_gl

# Bound of all observed values: joint angles (rad) and positions (m) are smaller.
FARTHEST = 10.0
# Groups of geometries that are drawn: the robot, the kitchen.
GROUPS = (0, 1, 2)


class KitchenEnv(gymnasium.Env[dict[str, np.ndarray], np.ndarray]):
    """A Panda robot in a kitchen with four subtasks.

    Every episode begins in the same pose. The simulator adds small noise to the measured positions, from which it computes
    the next command; `reset(seed=…)` seeds this noise, so an episode is reproducible bit by bit.

    The reward is the number of subtasks completed so far in the episode. The episode terminates when all four are completed;
    then `info["success"]` is true. `info["subtasks"]` lists the completed ones, in order.

    Args:
        task: the task's definition.
        action_convention: `"joint-velocity"`.
        render_mode: `None` or `"rgb_array"`.
        render_size: height and width of a frame in pixels.
        disturbance: must be `None`: the task has no disturbances.

    Attributes:
        releases_gil: steps of several environments may overlap in threads.

    Raises:
        ValueError: a setting is unknown, or an action has the wrong shape or is not finite.
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["rgb_array"]}
    releases_gil = True

    def __init__(
        self,
        task: KitchenTask,
        action_convention: str = JointVelocityAction.name,
        render_mode: str | None = None,
        render_size: tuple[int, int] = (512, 512),
        disturbance: str | None = None,
    ):
        task.check_modes(action_convention, render_mode)
        if disturbance is not None:
            raise ValueError(f"the task {task.name!r} has no disturbances")
        self.task = task
        self.convention = ACTION_CONVENTIONS[action_convention]
        self.render_mode = render_mode
        self.metadata = {**type(self).metadata, "render_fps": task.control_hz}  # type: ignore[misc]
        self.action_space = self.convention.space
        self.observation_space = space_of(task.observation, FARTHEST)
        self._kitchen = make_kitchen()
        self._render_size = render_size
        self._film: Frames | None = None

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None):
        super().reset(seed=seed)
        seen, _ = self._kitchen.reset(seed=seed)
        return _observed(seen), {"success": False, "subtasks": ()}

    def step(self, action: np.ndarray):
        action = np.asarray(action, np.float64)
        check_action(self.convention, action)
        seen, _, _, _, info = self._kitchen.step(action)
        completed = tuple(info["episode_task_completions"])
        success = len(completed) == len(SUBTASKS)
        return _observed(seen), float(len(completed)), success, False, {"success": success, "subtasks": completed}

    def render(self) -> np.ndarray:
        """Renders an RGB frame `[height, width, 3]`, seen from above the robot.

        Raises:
            OSError: this machine cannot render frames; the message gives the reason (`paradp.envs.rendering`).
        """
        if self._film is None:
            self._film = Frames(self._kitchen.model, *self._render_size, GROUPS)
        return self._film.draw(self._kitchen.data, make_camera())

    def close(self) -> None:
        if self._film is not None:
            self._film.close()
        self._film = None
        self._kitchen.close()


def make_kitchen() -> Any:
    """Makes gymnasium-robotics' environment with the four subtasks."""
    choose_gl()
    # On import, gymnasium-robotics prints advice about other environments.
    with contextlib.redirect_stderr(io.StringIO()):
        from gymnasium_robotics.envs.franka_kitchen.kitchen_env import KitchenEnv as Kitchen
    return Kitchen(tasks_to_complete=list(SUBTASKS))


def make_camera() -> Any:
    """Makes the camera from which gymnasium-robotics renders."""
    import mujoco

    camera = mujoco.MjvCamera()
    camera.distance, camera.azimuth, camera.elevation = 2.2, 70.0, -35.0
    camera.lookat[:] = -0.2, 0.5, 2.0
    return camera


def _observed(seen: dict[str, Any]) -> dict[str, np.ndarray]:
    """Picks positions from gymnasium-robotics' observation: the robot's positions, its velocities, then the objects'."""
    values = seen["observation"]
    positions = np.concatenate([values[:9], values[18:39]]).astype(np.float32)
    return {key: positions[entries.start : entries.stop] for key, entries in ENTRIES.items()}

"""Franka Kitchen as a gymnasium environment of our conventions, over gymnasium-robotics."""

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

# Bound of an observation: no joint turns farther (rad), nothing lies farther (m).
FARTHEST = 10.0
# Groups of geometries that are drawn: the robot, the kitchen.
GROUPS = (0, 1, 2)


class KitchenEnv(gymnasium.Env[dict[str, np.ndarray], np.ndarray]):
    """A Panda with four subtasks in a kitchen.

    Every episode begins in the same pose. `reset(seed=…)` seeds the small noise of the measured positions, from which the
    simulator computes the next command, and makes the episode reproducible to the bit.

    The reward is the number of subtasks completed so far in the episode; an episode terminates when all four are, and
    `info["success"]` says so. `info["subtasks"]` names the completed ones, in order.

    Args:
        task: the task's definition.
        action_convention: `"joint-velocity"`.
        render_mode: `None` or `"rgb_array"`.
        render_size: height and width of a frame in pixels.
        disturbance: `None`; there are none.

    Attributes:
        releases_gil: steps of several environments may overlap in threads.

    Raises:
        ValueError: one of these is unknown, or an action has another shape or is not finite.
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
        """An RGB frame `[height, width, 3]` from above the robot.

        Raises:
            OSError: frames cannot be drawn here; the message says why (`paradp.envs.rendering`).
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
    """gymnasium-robotics' own environment, with the four subtasks."""
    choose_gl()
    # It prints advice about other environments when it is imported.
    with contextlib.redirect_stderr(io.StringIO()):
        from gymnasium_robotics.envs.franka_kitchen.kitchen_env import KitchenEnv as Kitchen
    return Kitchen(tasks_to_complete=list(SUBTASKS))


def make_camera() -> Any:
    """The camera that gymnasium-robotics films from."""
    import mujoco

    camera = mujoco.MjvCamera()
    camera.distance, camera.azimuth, camera.elevation = 2.2, 70.0, -35.0
    camera.lookat[:] = -0.2, 0.5, 2.0
    return camera


def _observed(seen: dict[str, Any]) -> dict[str, np.ndarray]:
    """The positions among what gymnasium-robotics observes: those of the robot, then its velocities, then the objects'."""
    values = seen["observation"]
    positions = np.concatenate([values[:9], values[18:39]]).astype(np.float32)
    return {key: positions[entries.start : entries.stop] for key, entries in ENTRIES.items()}

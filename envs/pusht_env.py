"""PushT (a disc pushes a T onto its goal) as a gymnasium environment with paradp's observations, based on gym-pusht."""

import os
from typing import Any, ClassVar

import gymnasium
import numpy as np

from paradp.envs.actions import PlaneAction, check_action
from paradp.envs.conventions import ACTION_CONVENTIONS
from paradp.envs.observing import space_of
from paradp.envs.pusht_task import PushTTask
from paradp.envs.task import STATE, Features, images

# Bound of an observation (px): nothing leaves the board by more than its size.
FARTHEST = 1024.0


class PushTEnv(gymnasium.Env[dict[str, np.ndarray], np.ndarray]):
    """A disc and a T on a board of 512 × 512 px.

    The reward is the share of the goal that the T covers, divided by 0.95 and at most 1. The episode terminates at success;
    then `info["success"]` is true. `reset(seed=…)` makes the episode reproducible bit by bit.

    Args:
        task: the task's definition.
        action_convention: `"position"`: goal position of the disc (px).
        render_mode: `None` or `"rgb_array"`.
        render_size: height and width of a frame in pixels.
        disturbance: must be `None`: the task has no disturbances.
        observation: `"state"`, or `"image"` for a picture and the position of the disc.
        drawn: whether observations contain their pictures; otherwise only `draw` renders one.

    Raises:
        ValueError: a setting is unknown, or an action is not finite.
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["rgb_array"]}

    def __init__(
        self,
        task: PushTTask,
        action_convention: str = PlaneAction.name,
        render_mode: str | None = None,
        render_size: tuple[int, int] = (512, 512),
        disturbance: str | None = None,
        observation: str = STATE,
        drawn: bool = True,
    ):
        task.check_modes(action_convention, render_mode)
        if disturbance is not None:
            raise ValueError(f"the task {task.name!r} has no disturbances")
        self.task = task
        self.convention = ACTION_CONVENTIONS[action_convention]
        self.render_mode = render_mode
        self.metadata = {**type(self).metadata, "render_fps": task.control_hz}  # type: ignore[misc]
        self.action_space = self.convention.space
        self.drawn = drawn
        self._features = task.observed(observation)
        self.observation_space = space_of(self._features, FARTHEST, drawn)
        self._picture: Any = None
        self._board = make_board(*render_size)
        self._board.control_hz = task.control_hz
        self._board.k_p, self._board.k_v = task.controller["kp"], task.controller["kv"]

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None):
        super().reset(seed=seed)
        self._board.reset(seed=seed)
        return self._observe(), {"success": False}

    def step(self, action: np.ndarray):
        action = np.asarray(action, np.float64)
        check_action(self.convention, action)
        self._board.advance(action.tolist())
        coverage, enough = self._board.coverage, self._board.success_threshold
        success = coverage > enough
        return self._observe(), min(coverage / enough, 1.0), success, False, {"success": success}

    def render(self) -> np.ndarray:
        """An RGB frame `[height, width, 3]` of the board."""
        return self._board.render()

    def close(self) -> None:
        self._board.close()

    def observe(self, kind: str) -> dict[str, np.ndarray]:
        """Returns the current observation of one kind, including images.

        Raises:
            ValueError: there is no such kind.
        """
        features = self.task.observed(kind)
        return self._see(features) | self._draw(features)

    def draw(self) -> dict[str, np.ndarray]:
        """Renders the images of an observation of the current state."""
        return self._draw(self._features)

    def _observe(self) -> dict[str, np.ndarray]:
        return self._see(self._features) | (self.draw() if self.drawn else {})

    def _see(self, features: Features) -> dict[str, np.ndarray]:
        block = self._board.block
        seen: dict[str, Any] = {"agent_pos": self._board.agent.position}
        if "block_keypoints" in features:
            seen["block_keypoints"] = self._board.corners.ravel()
        elif "block_pos" in features:
            seen |= {"block_pos": block.position, "block_angle": (np.cos(block.angle), np.sin(block.angle))}
        return {key: np.asarray(value, np.float32) for key, value in seen.items()}

    def _draw(self, features: Features) -> dict[str, np.ndarray]:
        if not (keys := images(features)):
            return {}
        if self._picture is None:
            self._picture = make_picture(self._board, self.task.image_size)
        picture = self._picture.draw(self._board.agent.position, self._board.corners.reshape(2, 4, 2))
        return dict.fromkeys(keys, picture)


def make_board(height: int = 512, width: int = 512) -> Any:
    """Makes gym-pusht's own environment, see `paradp.envs.pusht_board`, with frames of the given size in pixels."""
    # Otherwise pygame advertises itself on every import.
    os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
    from paradp.envs.pusht_board import Board

    return Board(
        obs_type="environment_state_agent_pos",
        render_mode="rgb_array",
        visualization_width=width,
        visualization_height=height,
    )


def make_picture(board: Any, size: int) -> Any:
    """Makes the renderer of a board's observed picture of the given height and width, see `paradp.envs.pusht_picture`."""
    from paradp.envs.pusht_picture import BoardPicture

    return BoardPicture(board.goal_corners, size, size)

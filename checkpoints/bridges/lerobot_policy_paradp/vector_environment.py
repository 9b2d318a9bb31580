"""Combines environments in several simulator processes into one vector environment, for LeRobot's evaluation."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from lerobot.utils.constants import OBS_ENV_STATE, OBS_STATE

from paradp.bridges.lerobot_data.columns import Columns
from paradp.bridges.lerobot_data.layout import IMAGES
from paradp.envs.remote import RemoteEnvironments

# Keys that LeRobot renames to observation.state, observation.environment_state and observation.images.*.
ROBOT_STATE, ENVIRONMENT_STATE, PIXELS = "agent_pos", "environment_state", "pixels"
_RAW = {OBS_STATE: ROBOT_STATE, OBS_ENV_STATE: ENVIRONMENT_STATE}
_BLACK = (64, 64, 3)


class RemoteVectorEnv(VectorEnv):  # type: ignore[misc]  # gymnasium's types are not followed
    """Environments of one task in several processes, which step in parallel.

    An environment whose episode has ended keeps its last observation, with reward 0, until all environments are reset.
    Actions are clipped to the task's limits, as everywhere in paradp.

    Args:
        simulators: the processes; this object closes them.
        counts: the number of environments in each process.
        columns: the contents of LeRobot's features.
        video: whether `render` renders frames; otherwise they are black.
    """

    def __init__(self, simulators: Sequence[RemoteEnvironments], counts: Sequence[int], columns: Columns, video: bool):
        described = simulators[0].description
        self._simulators, self._columns, self._video = simulators, columns, video
        self._places = [(simulator, place) for simulator, count in enumerate(counts) for place in range(count)]
        self.num_envs = len(self._places)
        self.task = self.task_description = described.task
        self._max_episode_steps = described.max_steps
        self.metadata = {"render_fps": described.control_hz, "autoreset_mode": AutoresetMode.DISABLED}
        self.render_mode = "rgb_array"
        self.single_observation_space = _space(columns)
        self.single_action_space = spaces.Box(described.action_low, described.action_high, dtype=np.float32)
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        self._seen: dict[str, np.ndarray] = {}
        self._success = np.zeros(self.num_envs, bool)
        self._terminated, self._truncated = np.zeros((2, self.num_envs), bool)

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> tuple[dict[str, Any], dict[str, Any]]:
        """Begins an episode in every environment.

        Args:
            seed: a seed for each environment; or the first environment's seed, from which the others count up.
            options: not used.
        """
        count = self.num_envs
        seeds = [None] * count if seed is None else [seed + i for i in range(count)] if isinstance(seed, int) else list(seed)
        self._seen = {}
        for simulator, rows in self._by_simulator(np.ones(count, bool)):
            found = self._simulators[simulator].reset(self._of(rows), [seeds[i] for i in rows])
            self._look(rows, found)
        for ended in (self._success, self._terminated, self._truncated):
            ended[:] = False
        return self._observation(), self._info()

    def step(self, actions: Any) -> tuple[dict[str, Any], np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Makes a control step in the environments whose episodes have not ended."""
        actions = np.clip(actions, self.action_space.low, self.action_space.high)
        rewards = np.zeros(self.num_envs)
        asked = list(self._by_simulator(~(self._terminated | self._truncated)))
        for simulator, rows in asked:
            self._simulators[simulator].ask_step(self._of(rows), actions[rows])
        for simulator, rows in asked:
            stepped = self._simulators[simulator].stepped()
            self._look(rows, stepped.observation)
            rewards[rows], self._success[rows] = stepped.reward, stepped.success
            self._terminated[rows], self._truncated[rows] = stepped.terminated, stepped.truncated
        return self._observation(), rewards, self._terminated.copy(), self._truncated.copy(), self._info()

    def call(self, name: str, *args: Any, **kwargs: Any) -> tuple[Any, ...]:
        """Returns an attribute of each environment, or the results of a method: LeRobot calls `render` in this way."""
        return self.render() if name == "render" else self.get_attr(name)

    def get_attr(self, name: str) -> tuple[Any, ...]:
        """Returns an attribute of each environment: `task`, `task_description` or `_max_episode_steps`.

        Raises:
            AttributeError: environments have no such attribute.
        """
        if name not in ("task", "task_description", "_max_episode_steps"):
            raise AttributeError(f"environments of paradp have no {name!r}")
        return (getattr(self, name),) * self.num_envs

    def render(self) -> tuple[np.ndarray, ...]:
        """Renders a frame of each environment."""
        if not self._video:
            return (np.zeros(_BLACK, np.uint8),) * self.num_envs
        frames: dict[int, np.ndarray] = {}
        for simulator, rows in self._by_simulator(np.ones(self.num_envs, bool)):
            frames.update(zip(rows.tolist(), self._simulators[simulator].render(self._of(rows)), strict=True))
        return tuple(frames[i] for i in range(self.num_envs))

    def close_extras(self, **kwargs: Any) -> None:
        """Ends the processes."""
        for simulator in self._simulators:
            simulator.close()

    def _by_simulator(self, which: np.ndarray) -> list[tuple[int, np.ndarray]]:
        """Groups the selected environments by simulator, as rows of this environment's arrays."""
        owners = np.array([simulator for simulator, _ in self._places])
        found = [(i, np.flatnonzero(which & (owners == i))) for i in range(len(self._simulators))]
        return [(i, rows) for i, rows in found if len(rows)]

    def _of(self, rows: np.ndarray) -> list[int]:
        return [self._places[i][1] for i in rows]

    def _look(self, rows: np.ndarray, found: dict[str, np.ndarray]) -> None:
        for key, values in found.items():
            if key not in self._seen:
                self._seen[key] = np.zeros((self.num_envs, *values.shape[1:]), values.dtype)
            self._seen[key][rows] = values

    def _observation(self) -> dict[str, Any]:
        columns = self._columns
        found: dict[str, Any] = {
            raw: columns.side_by_side(key, self._seen) for key, raw in _RAW.items() if key in columns.vectors
        }
        if columns.images:
            found[PIXELS] = {key.removeprefix(IMAGES): self._seen[name].copy() for key, name in columns.images.items()}
        return found

    def _info(self) -> dict[str, Any]:
        return {"is_success": self._success.copy()}


def _space(columns: Columns) -> spaces.Dict:
    found: dict[str, spaces.Space] = {
        raw: spaces.Box(-np.inf, np.inf, (sum(columns.vectors[key].values()),), np.float32)
        for key, raw in _RAW.items()
        if key in columns.vectors
    }
    if columns.shapes:
        boxes = {key.removeprefix(IMAGES): spaces.Box(0, 255, shape, np.uint8) for key, shape in columns.shapes.items()}
        found[PIXELS] = spaces.Dict(boxes)
    return spaces.Dict(found)

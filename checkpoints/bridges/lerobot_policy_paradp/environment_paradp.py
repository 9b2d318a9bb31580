"""Makes paradp's tasks available to LeRobot, `--env.type=paradp --env.task=square`, simulated in other processes."""

import os
from dataclasses import dataclass, field
from typing import Any

from gymnasium.vector import VectorEnv
from lerobot.configs import FeatureType, PolicyFeature
from lerobot.envs.configs import EnvConfig
from lerobot.utils.constants import ACTION, OBS_ENV_STATE, OBS_STATE

from lerobot_policy_paradp.vector_environment import ENVIRONMENT_STATE, ROBOT_STATE, RemoteVectorEnv
from paradp.bridges.lerobot_data.columns import Columns
from paradp.envs.remote import RemoteEnvironments


@EnvConfig.register_subclass("paradp")
@dataclass
class ParadpEnvConfig(EnvConfig):  # type: ignore[misc]  # LeRobot is not there where types are checked
    """A task of paradp, with the features that `paradp data export` gives its demonstrations.

    `fps`, `features` and `features_map` are read from the task's simulator when the environments are made.

    Attributes:
        task: name of the task, such as square.
        python: path of a Python interpreter with paradp and its extra `sim`; by default the value of `PARADP_SIM_PYTHON`, or
            the interpreter that runs LeRobot.
        observation: `state` or `image`, one of the task's kinds of observations; by default the first.
        state: the observed vectors that make up observation.state; the others make up observation.environment_state. By
            default those with a prefix that paradp uses for robots.
        action_convention: meaning of the actions; by default the task's first convention.
        disturbance: name of a disturbance of the task's object.
        episode_length: length limit in control steps; by default the task's.
        video: render frames for LeRobot's videos; otherwise these are black.
    """

    task: str | None = "square"
    python: str | None = None
    observation: str | None = None
    state: list[str] = field(default_factory=list)
    action_convention: str | None = None
    disturbance: str | None = None
    episode_length: int | None = None
    video: bool = True

    @property
    def gym_kwargs(self) -> dict[str, Any]:
        """Not used: LeRobot makes the environments with `create_envs`, not with gymnasium."""
        return {}

    def create_envs(self, n_envs: int, use_async_envs: bool = False) -> dict[str, dict[int, VectorEnv]]:
        """Starts the simulators: one process with all environments, or with `use_async_envs` one for each CPU.

        Raises:
            ValueError: the task or a setting is unknown.
            OSError: the interpreter does not exist, or its process ends, lacks a package or cannot render images.
        """
        processes = min(n_envs, os.cpu_count() or 1) if use_async_envs else 1
        counts = [len(range(first, n_envs, processes)) for first in range(processes)]
        simulators: list[RemoteEnvironments] = []
        try:
            for count in counts:
                simulators.append(self._simulator(count))
            columns = self._describe(simulators[0])
        except BaseException:
            for simulator in simulators:
                simulator.close()
            raise
        return {self.type: {0: RemoteVectorEnv(simulators, counts, columns, self.video)}}

    def _simulator(self, count: int) -> RemoteEnvironments:
        return RemoteEnvironments(
            self.task or "",
            count,
            self.python,
            observation=self.observation,
            action_convention=self.action_convention,
            disturbance=self.disturbance,
            max_steps=self.episode_length,
            render=self.video,
        )

    def _describe(self, simulator: RemoteEnvironments) -> Columns:
        """Sets `fps`, `features` and `features_map` from a simulator's description."""
        described = simulator.description
        columns = Columns.of(described.observation, {}, self.state)
        self.fps = described.control_hz
        self.features = {ACTION: PolicyFeature(FeatureType.ACTION, described.action_low.shape)}
        self.features_map = {ACTION: ACTION}
        kinds = {OBS_STATE: (FeatureType.STATE, ROBOT_STATE), OBS_ENV_STATE: (FeatureType.ENV, ENVIRONMENT_STATE)}
        for theirs, (kind, raw) in kinds.items():
            if theirs in columns.vectors:
                self.features[raw] = PolicyFeature(kind, (sum(columns.vectors[theirs].values()),))
                self.features_map[raw] = theirs
        for theirs, shape in columns.shapes.items():
            self.features[theirs] = PolicyFeature(FeatureType.VISUAL, shape)
            self.features_map[theirs] = theirs
        return columns

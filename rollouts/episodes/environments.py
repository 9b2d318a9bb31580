"""The environments of a control loop."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np

from paradp.envs import ACTION_CONVENTIONS, find_task
from paradp.policy import PolicySpec

Observation = dict[str, np.ndarray]
# The result of gymnasium's `step`: observation, reward, terminated, truncated, info.
Outcome = tuple[Observation, Any, bool, bool, dict[str, Any]]


class Environments:
    """Environments with indices 0, 1, …, which are reset and stepped individually.

    gymnasium's vector environments always step all environments, even if fewer episodes are left, and copy the observations
    into one array per key.

    Args:
        envs: the environments.
        threads: how many step in parallel, if their `step` releases Python's lock (attribute `releases_gil`). It does not
            affect results.
    """

    def __init__(self, envs: Sequence[gymnasium.Env], threads: int = 1):
        self.envs = list(envs)
        self._dtypes = [env.action_space.dtype for env in self.envs]
        free = all(getattr(env.unwrapped, "releases_gil", False) for env in self.envs)
        threads = min(threads, len(self.envs)) if free else 1
        self._pool = ThreadPoolExecutor(threads) if threads > 1 else None

    @property
    def num_envs(self) -> int:
        return len(self.envs)

    def reset(self, seeds: Mapping[int, int]) -> dict[int, Observation]:
        """Begins episodes: index → seed. Returns index → first observation."""
        return {place: self.envs[place].reset(seed=seed)[0] for place, seed in seeds.items()}

    def step(self, actions: Mapping[int, np.ndarray]) -> dict[int, Outcome]:
        """One control step: index → action. Returns index → outcome."""
        if self._pool is None:
            return {place: self._step(place, action) for place, action in actions.items()}
        futures = {place: self._pool.submit(self._step, place, action) for place, action in actions.items()}
        try:
            return {place: future.result() for place, future in futures.items()}
        finally:
            wait(futures.values())  # after an error the caller may close environments, so none may still be stepping

    def close(self) -> None:
        if self._pool is not None:
            self._pool.shutdown()
        for env in self.envs:
            env.close()

    def _step(self, place: int, action: np.ndarray) -> Outcome:
        return self.envs[place].step(action.astype(self._dtypes[place]))


@dataclass(frozen=True)
class EnvironmentConfig:
    """The settings of an environment.

    Attributes:
        task: the task's name.
        action_convention: what actions mean, see `paradp.envs.actions`.
        disturbance: what disturbs the task's object, see `paradp.envs.disturbances`; `None` for nothing.
        max_steps: length limit of an episode in control steps; the task's own by default.
        render: whether it can be filmed.
    """

    task: str
    action_convention: str = "absolute"
    disturbance: str | None = None
    max_steps: int | None = None
    render: bool = False

    def make(self) -> gymnasium.Env:
        """Creates an environment.

        Raises:
            ValueError: the task or the disturbance is unknown.
        """
        return gymnasium.make(
            find_task(self.task).task.env_id,
            max_episode_steps=self.max_steps,
            action_convention=self.action_convention,
            disturbance=self.disturbance,
            render_mode="rgb_array" if self.render else None,
        )


def make_envs(environment: EnvironmentConfig, count: int, threads: int = 1) -> Environments:
    """Creates `count` environments in this process.

    Raises:
        ValueError: the task or the disturbance is unknown.
    """
    return Environments([environment.make() for _ in range(count)], threads)


def check_fits(spec: PolicySpec, task: str) -> None:
    """Checks that a policy was trained for this version of a task.

    Raises:
        ValueError: task, observation, actions, control rate or controller differ; the message says how.
    """
    wanted_task = find_task(task).task
    if spec.action_convention not in wanted_task.conventions:
        known = ", ".join(wanted_task.conventions)
        raise ValueError(f"the checkpoint's actions are {spec.action_convention!r}; the task {task!r} knows: {known}")
    convention = ACTION_CONVENTIONS[spec.action_convention]
    here = {
        "task": task,
        "observation": wanted_task.observation,
        "action": convention.parts,
        "control_hz": wanted_task.control_hz,
        "controller": wanted_task.controller,
    }
    for name, wanted in here.items():
        found = getattr(spec, name)
        same = list(found.items()) == list(wanted.items()) if isinstance(wanted, Mapping) else found == wanted
        if not same:  # also where only the order differs
            raise ValueError(f"the checkpoint does not fit the task {task!r}: its {name} is {found}, the task's is {wanted}")
    limits = np.array([spec.action_low, spec.action_high], np.float32)
    if not np.array_equal(limits, [convention.low, convention.high]):
        raise ValueError(f"the checkpoint does not fit the task {task!r}: its action limits differ from the environment's")

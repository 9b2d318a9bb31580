"""Measures the overhead of the control loop, without simulation and network."""

import time
from dataclasses import dataclass
from statistics import median

from paradp.envs import RobosuiteTask, find_convention, find_task
from paradp.policy.control.controller import Command
from paradp.policy.observations import Observation
from paradp.policy.processes import spare_garbage_collection
from paradp.rollouts.episodes.environments import EnvironmentConfig, make_envs
from paradp.rollouts.episodes.runner import run_episodes


@dataclass(frozen=True)
class Overhead:
    """Control steps per second on one core.

    Attributes:
        bare: only the simulator's control steps, with the same actions, without observations, reward, success or records.
        looped: the whole loop with a controller that takes no time.
    """

    bare: float
    looped: float

    @property
    def ratio(self) -> float:
        """The share of that speed that the whole loop keeps."""
        return self.looped / self.bare


class HoldingController:
    """A controller that takes no time: holds the pose of the first observation.

    Args:
        action_convention: name of the convention of its actions.
    """

    def __init__(self, action_convention: str) -> None:
        self._hold = find_convention(action_convention).hold
        self.reset()

    def reset(self, seed: int | None = None) -> None:
        self._command: Command | None = None

    def act(self, observation: Observation) -> Command:
        if self._command is None:
            self._command = Command(self._hold(None, observation))
        return self._command


def measure_overhead(task: str, steps: int = 400, repeats: int = 5) -> Overhead:
    """Times the simulator of a robosuite task alone and the loop over its environment, in turns; medians of `repeats`.

    Args:
        task: the task's name.
        steps: control steps of each measurement, at most those of an episode.
        repeats: number of measurements of each.

    Raises:
        ValueError: the task is not one of robosuite's.
    """
    if not isinstance(find_task(task).task, RobosuiteTask):
        raise ValueError(f"the loop is compared with robosuite's simulator, but {task!r} is not a task of robosuite")
    config = EnvironmentConfig(task)
    holding = HoldingController(config.convention)
    envs = make_envs(config, 1)
    spare_garbage_collection()
    bare, looped = [], []
    for seed in range(repeats):
        env = envs.envs[0].unwrapped
        observation, _ = env.reset(seed=seed)
        holding.reset()
        action = env.convention.to_robosuite(holding.act(observation).action)  # type: ignore[attr-defined]
        started = time.perf_counter()
        for _ in range(steps):
            env.simulate(action)  # type: ignore[attr-defined]
        bare.append(steps / (time.perf_counter() - started))
        [episode] = run_episodes(envs, [holding], [seed])
        looped.append(len(episode.steps) / episode.seconds)
    envs.close()
    return Overhead(median(bare), median(looped))

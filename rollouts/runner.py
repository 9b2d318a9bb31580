"""The closed loop."""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from gymnasium.vector import SyncVectorEnv

from paradp.policy import Controller, RecedingHorizon, act_together
from paradp.rollouts.records import Episode, StepRecord


class Subscriber(Protocol):
    """Watches the loop; what it is told it may keep, but not change.

    `render` returns the environment's picture `[height, width, 3]`.
    """

    def on_step(self, seed: int, record: StepRecord, render: Callable[[], np.ndarray]) -> None: ...

    def on_episode(self, episode: Episode) -> None: ...


@dataclass
class _Running:
    """An episode that has not ended; `watched` is the time that subscribers had taken when it began."""

    seed: int
    watched: float
    started: float = field(default_factory=time.time)
    clock: float = field(default_factory=time.perf_counter)
    steps: list[StepRecord] = field(default_factory=list)

    def finish(self, watched: float) -> Episode:
        return Episode(
            seed=self.seed,
            reward=max(record.reward for record in self.steps),
            success=any(record.success for record in self.steps),
            started=self.started,
            seconds=time.perf_counter() - self.clock - (watched - self.watched),
            steps=self.steps,
        )


def run_episodes(
    envs: SyncVectorEnv,
    controllers: Sequence[Controller],
    seeds: Iterable[int],
    subscribers: Sequence[Subscriber] = (),
) -> Iterator[Episode]:
    """Runs one episode for each seed and yields it as it ends; an environment that is free takes the next seed.

    Args:
        envs: from `make_envs`.
        controllers: one for each environment.
        seeds: of the episodes: environment and controller are both reset with it.
        subscribers: told of every step and every episode.
    """
    waiting = deque(seeds)
    running: dict[int, _Running] = {}
    watched = 0.0
    observations = _start(envs, controllers, waiting, running, range(envs.num_envs), watched)
    actions = np.zeros(envs.action_space.shape, envs.action_space.dtype)
    while running:
        slots = list(running)
        started = time.perf_counter()
        commands = _act([controllers[i] for i in slots], [_row(observations, i) for i in slots])
        seconds = time.perf_counter() - started
        for i, command in zip(slots, commands, strict=True):
            actions[i] = command.action
        observations, rewards, terminated, truncated, infos = envs.step(actions)
        for i, command in zip(slots, commands, strict=True):
            steps = running[i].steps
            replan = getattr(command, "replan", None)
            steps.append(StepRecord(len(steps), float(rewards[i]), bool(infos["success"][i]), seconds, replan))
        finished = [i for i in slots if terminated[i] or truncated[i]]
        if subscribers:
            began = time.perf_counter()
            for i in slots:
                for subscriber in subscribers:
                    subscriber.on_step(running[i].seed, running[i].steps[-1], envs.envs[i].render)  # type: ignore[arg-type]
            watched += time.perf_counter() - began
        for i in finished:
            ended = running.pop(i).finish(watched)
            for subscriber in subscribers:
                subscriber.on_episode(ended)
            yield ended
        if finished:
            observations = _start(envs, controllers, waiting, running, finished, watched)


def _start(
    envs: SyncVectorEnv,
    controllers: Sequence[Controller],
    waiting: deque[int],
    running: dict[int, _Running],
    free: Iterable[int],
    watched: float,
):
    """Gives each free environment its next episode, or parks it; returns all observations."""
    freed, parked = np.zeros((2, envs.num_envs), bool)
    seeds: list[int | None] = [None] * envs.num_envs
    for i in free:
        freed[i] = True
        parked[i] = not waiting
        if waiting:
            seeds[i] = waiting.popleft()
            controllers[i].reset(seeds[i])
    observations, _ = envs.reset(seed=seeds, options={"reset_mask": freed, "parked": parked})
    running |= {int(i): _Running(seeds[i], watched) for i in np.flatnonzero(freed & ~parked)}  # type: ignore[arg-type]
    return observations


def _act(controllers: Sequence[Controller], observations: Sequence[dict[str, np.ndarray]]):
    """Policies plan together; any other controller acts by itself."""
    if all(isinstance(c, RecedingHorizon) for c in controllers):
        return act_together(controllers, observations)  # type: ignore[arg-type]
    return [c.act(o) for c, o in zip(controllers, observations, strict=True)]


def _row(observations: dict[str, np.ndarray], i: int) -> dict[str, np.ndarray]:
    return {key: value[i] for key, value in observations.items()}

"""The closed loop."""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from gymnasium.vector import SyncVectorEnv

from paradp.policy import Controller, RecedingHorizon, act_together
from paradp.rollouts.records import Episode, StepRecord

# Of all environments: key → [environments, size].
Observations = dict[str, np.ndarray]
# The date is read once: a clock that is set while episodes run must neither part nor overlap them.
_EPOCH = time.time() - time.perf_counter()


class Subscriber(Protocol):
    """Watches the loop; what it is told it may keep, but not change.

    `render` returns the environment's picture `[height, width, 3]`.
    """

    def on_step(self, seed: int, record: StepRecord, render: Callable[[], np.ndarray]) -> None: ...

    def on_episode(self, episode: Episode) -> None: ...


@dataclass
class _Running:
    """An episode that has not ended; `watched` is the time that subscribers had taken when it began at `clock`."""

    seed: int
    watched: float
    clock: float = field(default_factory=time.perf_counter)
    steps: list[StepRecord] = field(default_factory=list)
    disturbed: bool = False

    def finish(self, watched: float) -> Episode:
        return Episode(
            seed=self.seed,
            reward=max(record.reward for record in self.steps),
            success=any(record.success for record in self.steps),
            started=_EPOCH + self.clock,
            seconds=time.perf_counter() - self.clock - (watched - self.watched),
            steps=self.steps,
            disturbed=self.disturbed,
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
    idle = set(range(envs.num_envs))
    watched = 0.0
    observations = _reset(envs, dict.fromkeys(idle))
    while True:
        if waiting and idle:
            starting = {i: waiting.popleft() for i in sorted(idle)[: len(waiting)]}
            observations = _reset(envs, starting)
            for i, seed in starting.items():
                controllers[i].reset(seed)
                running[i] = _Running(seed, watched)
            idle -= starting.keys()
        if not running:
            return
        observations, ended = _step(envs, controllers, observations, running)
        watched += _tell_step(subscribers, envs, running)
        for i in ended:
            episode = running.pop(i).finish(watched)
            for subscriber in subscribers:
                subscriber.on_episode(episode)
            yield episode
        if ended:
            observations = _reset(envs, dict.fromkeys(ended))
            idle.update(ended)


def _step(
    envs: SyncVectorEnv, controllers: Sequence[Controller], observations: Observations, running: dict[int, _Running]
) -> tuple[Observations, list[int]]:
    """One control step of all running environments; returns the next observations and whose episodes ended."""
    slots = list(running)
    began = time.perf_counter()
    commands = _act([controllers[i] for i in slots], [_row(observations, i) for i in slots])
    acted = time.perf_counter()
    actions = np.zeros(envs.action_space.shape, envs.action_space.dtype)
    actions[slots] = [command.action for command in commands]
    observations, rewards, terminated, truncated, infos = envs.step(actions)
    simulation = time.perf_counter() - acted
    disturbed = infos.get("disturbed", np.zeros(envs.num_envs, bool))
    for i, command in zip(slots, commands, strict=True):
        steps = running[i].steps
        running[i].disturbed |= bool(disturbed[i])
        steps.append(
            StepRecord(
                len(steps),
                float(rewards[i]),
                bool(infos["success"][i]),
                acted - began,
                getattr(command, "replan", None),
                tuple(command.action.tolist()),
                getattr(command, "held", False),
                began,
                simulation,
            )
        )
    return observations, [i for i in slots if terminated[i] or truncated[i]]


def _tell_step(subscribers: Sequence[Subscriber], envs: SyncVectorEnv, running: dict[int, _Running]) -> float:
    """Tells the subscribers of the step that was just made; returns the seconds they took."""
    began = time.perf_counter()
    for subscriber in subscribers:
        for i, episode in running.items():
            subscriber.on_step(episode.seed, episode.steps[-1], envs.envs[i].render)  # type: ignore[arg-type]
    return time.perf_counter() - began


def _reset(envs: SyncVectorEnv, seeds: Mapping[int, int | None]) -> Observations:
    """Starts an episode in each of these environments, or parks it where the seed is `None`; returns all observations."""
    chosen, parked = np.zeros((2, envs.num_envs), bool)
    chosen[list(seeds)] = True
    parked[[i for i, seed in seeds.items() if seed is None]] = True
    options = {"reset_mask": chosen, "parked": parked}
    return envs.reset(seed=[seeds.get(i) for i in range(envs.num_envs)], options=options)[0]


def _act(controllers: Sequence[Controller], observations: Sequence[dict[str, np.ndarray]]):
    """Policies plan together; any other controller acts by itself."""
    if all(isinstance(c, RecedingHorizon) for c in controllers):
        return act_together(controllers, observations)  # type: ignore[arg-type]
    return [c.act(o) for c, o in zip(controllers, observations, strict=True)]


def _row(observations: Observations, i: int) -> dict[str, np.ndarray]:
    return {key: value[i] for key, value in observations.items()}

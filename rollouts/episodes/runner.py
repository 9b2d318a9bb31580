"""The closed loop."""

import math
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np

from paradp.policy import Controller, RecedingHorizon, act_together
from paradp.policy.control.controller import HasAction
from paradp.rollouts.episodes.environments import Environments, Observation, has_succeeded
from paradp.rollouts.episodes.records import Episode, StepRecord

# The date is read once, so that setting the machine's clock during a run does not change the order of episodes.
_EPOCH = time.time() - time.perf_counter()


class Subscriber(Protocol):
    """Receives every step and episode of the loop. It may keep the records, but must not modify them.

    `render` returns the environment's image `[height, width, 3]`.
    """

    def on_step(self, seed: int, record: StepRecord, render: Callable[[], np.ndarray]) -> None:
        """Called after each control step of an environment."""
        ...

    def on_episode(self, episode: Episode) -> None:
        """Called when an episode has ended."""
        ...


@runtime_checkable
class CommandSubscriber(Subscriber, Protocol):
    """A subscriber that also receives what each command was decided from, and must not modify it."""

    def on_command(self, seed: int, step: int, observation: Observation, command: HasAction) -> None:
        """Receives a command before its `on_step`: the observation that it was decided from, and the command."""
        ...


@dataclass
class _Running:
    """An episode that has not ended; `watched` is the time that subscribers had taken when it began at `clock`.

    `decided` is the last command, and the observation that it was decided from.
    """

    seed: int
    controller: Controller
    observation: Observation
    watched: float
    clock: float = field(default_factory=time.perf_counter)
    steps: list[StepRecord] = field(default_factory=list)
    disturbed: bool = False
    decided: tuple[Observation, HasAction] | None = None

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


_Act = Callable[[Collection[_Running]], Sequence[HasAction]]


def run_episodes(
    envs: Environments,
    controllers: Sequence[Controller],
    seeds: Iterable[int],
    subscribers: Sequence[Subscriber] = (),
) -> Iterator[Episode]:
    """Runs one episode for each seed and yields it as it ends; an environment that is free takes the next seed.

    Args:
        envs: from `make_envs`.
        controllers: one for each environment.
        seeds: of the episodes: environment and controller are both reset with it.
        subscribers: called for every step and every episode.
    """
    waiting = deque(seeds)
    running: dict[int, _Running] = {}
    idle = set(range(envs.num_envs))
    act = _plan_together if all(isinstance(c, RecedingHorizon) for c in controllers) else _act_alone
    watched = 0.0
    while True:
        if waiting and idle:
            starting = {place: waiting.popleft() for place in sorted(idle)[: len(waiting)]}
            for place, observation in envs.reset(starting).items():
                controllers[place].reset(starting[place])
                running[place] = _Running(starting[place], controllers[place], observation, watched)
            idle -= starting.keys()
        if not running:
            return
        ended = _step(envs, act, running)
        if subscribers:
            watched += _call_subscribers(subscribers, envs, running)
        episodes = [running.pop(place).finish(watched) for place in ended]
        idle.update(ended)
        # Films are written while the others wait; that is not their time.
        began = time.perf_counter()
        for episode in episodes:
            for subscriber in subscribers:
                subscriber.on_episode(episode)
        yield from episodes
        watched += time.perf_counter() - began


def _step(envs: Environments, act: _Act, running: dict[int, _Running]) -> list[int]:
    """Makes one control step of all running episodes; returns the indices of those that ended."""
    began = time.perf_counter()
    commands = act(running.values())
    acted = time.perf_counter()
    unseen = {place for place, episode in running.items() if not getattr(episode.controller, "looks", True)}
    outcomes = envs.step({place: command.action for place, command in zip(running, commands, strict=True)}, unseen)
    simulation = time.perf_counter() - acted
    ended = []
    for command, (place, outcome) in zip(commands, outcomes.items(), strict=True):
        episode = running[place]
        episode.decided = episode.observation, command
        episode.observation, reward, terminated, truncated, info = outcome
        episode.disturbed |= bool(info.get("disturbed", False))
        episode.steps.append(
            StepRecord(
                len(episode.steps),
                _finite(reward, episode),
                has_succeeded(info),
                acted - began,
                getattr(command, "replan", None),
                tuple(command.action.tolist()),
                getattr(command, "held", False),
                began,
                simulation,
            )
        )
        if terminated or truncated:
            ended.append(place)
    return ended


def _finite(reward: float, episode: _Running) -> float:
    """Raises:
    ValueError: the reward is not finite, and could not be stored.
    """
    if not math.isfinite(reward):
        where = f"control step {len(episode.steps)} of the episode with seed {episode.seed}"
        raise ValueError(f"the environment returned the reward {reward} in {where}")
    return float(reward)


def _call_subscribers(subscribers: Sequence[Subscriber], envs: Environments, running: dict[int, _Running]) -> float:
    """Calls the subscribers with the last step; returns the seconds they took."""
    began = time.perf_counter()
    for subscriber in subscribers:
        for i, episode in running.items():
            if episode.decided is not None and isinstance(subscriber, CommandSubscriber):
                subscriber.on_command(episode.seed, len(episode.steps) - 1, *episode.decided)
            subscriber.on_step(episode.seed, episode.steps[-1], envs.envs[i].render)  # type: ignore[arg-type]
    return time.perf_counter() - began


def _plan_together(episodes: Collection[_Running]) -> Sequence[HasAction]:
    """Acts with policies: all that need a chunk are planned in one batch."""
    observations = [episode.observation for episode in episodes]
    return act_together([episode.controller for episode in episodes], observations)  # type: ignore[misc]


def _act_alone(episodes: Collection[_Running]) -> Sequence[HasAction]:
    """Acts with several controllers in sequence."""
    return [episode.controller.act(episode.observation) for episode in episodes]

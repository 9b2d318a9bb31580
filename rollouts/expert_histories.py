"""Observation histories from a scripted expert's episodes, as inputs for plans."""

from collections.abc import Iterator
from itertools import count, islice

import numpy as np

from paradp.envs import find_task
from paradp.policy.observations import Observation, read_observation, stack
from paradp.policy.spec import Interface
from paradp.rollouts.collect import for_expert
from paradp.rollouts.episodes.environments import EnvironmentConfig, observed_by


def expert_histories(spec: Interface, number: int, seed: int, every: int = 13) -> Observation:
    """Histories from expert episodes with seeds `seed`, `seed` + 1, …, one every `every` steps.

    Each feature is `[number, To, …]`.
    """
    histories: list[Observation] = []
    for episode in _episodes(spec, seed):
        histories += episode[::every]
        if len(histories) >= number:
            return stack(histories[:number])
    raise AssertionError("the expert's episodes never end")


def scattered_histories(spec: Interface, episodes: int, each: int, seed: int) -> Observation:
    """Histories at `each` random steps of each expert episode, with seeds from `seed` on.

    Each feature is `[episodes · each, To, …]`.
    """
    rng = np.random.default_rng(seed)
    chosen = islice(_episodes(spec, seed), episodes)
    return stack([episode[i] for episode in chosen for i in rng.choice(len(episode), each, replace=False)])


def _episodes(spec: Interface, seed: int) -> Iterator[list[Observation]]:
    """Yields, for each episode of the expert, the histories of all its control steps."""
    entry = find_task(spec.task)
    env = EnvironmentConfig(spec.task, spec.action_convention, observation=observed_by(spec, entry.task)).make()
    expert = entry.demonstrator(spec.action_convention)
    try:
        for way in count(seed):
            observation, _ = env.reset(seed=way)
            expert.reset(way)
            histories: list[Observation] = []
            seen, done = [read_observation(spec, observation)] * (spec.horizons.observe - 1), False
            while not done:
                seen.append(read_observation(spec, observation))
                histories.append(stack(seen[-spec.horizons.observe :]))
                observation, _, terminated, truncated, _ = env.step(expert.act(for_expert(env, observation)).action)
                done = terminated or truncated
            yield histories
    finally:
        env.close()

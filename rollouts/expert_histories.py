"""Observations to plan from: what the scripted expert sees on its way."""

from collections.abc import Iterator
from itertools import count, islice

import gymnasium
import numpy as np

from paradp.envs import find_task
from paradp.policy.observations import read_observation
from paradp.policy.spec import Interface


def expert_histories(spec: Interface, number: int, seed: int, every: int = 13) -> np.ndarray:
    """Histories `[number, To, O]` from the expert's episodes with seeds `seed`, `seed` + 1, …, one each `every` steps."""
    histories: list[np.ndarray] = []
    for episode in _episodes(spec, seed):
        histories += episode[::every]
        if len(histories) >= number:
            return np.stack(histories[:number])
    raise AssertionError("the expert's episodes never end")


def scattered_histories(spec: Interface, episodes: int, each: int, seed: int) -> np.ndarray:
    """Histories `[episodes · each, To, O]`: of each of the expert's episodes from seed `seed` on, `each` random moments."""
    rng = np.random.default_rng(seed)
    chosen = islice(_episodes(spec, seed), episodes)
    return np.stack([episode[i] for episode in chosen for i in rng.choice(len(episode), each, replace=False)])


def _episodes(spec: Interface, seed: int) -> Iterator[list[np.ndarray]]:
    """The history `[To, O]` of every control step of one episode of the expert after the other."""
    entry = find_task(spec.task)
    env = gymnasium.make(entry.task.env_id, action_convention=spec.action_convention)
    expert = entry.demonstrator(spec.action_convention)
    try:
        for way in count(seed):
            observation, _ = env.reset(seed=way)
            expert.reset(way)
            seen, histories, done = [read_observation(spec, observation)] * (spec.horizons.observe - 1), [], False
            while not done:
                seen.append(read_observation(spec, observation))
                histories.append(np.stack(seen[-spec.horizons.observe :]))
                observation, _, terminated, truncated, _ = env.step(expert.act(observation).action)
                done = terminated or truncated
            yield histories
    finally:
        env.close()

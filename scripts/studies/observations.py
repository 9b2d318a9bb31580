"""Observations to plan from: what the scripted expert sees on its way."""

import gymnasium
import numpy as np

from paradp.envs import find_task
from paradp.policy.observations import read_observation
from paradp.policy.spec import Interface


def expert_histories(spec: Interface, count: int, seed: int, every: int = 13) -> np.ndarray:
    """Histories `[count, To, O]` from the expert's episodes with seeds `seed`, `seed` + 1, …, one each `every` steps."""
    entry = find_task(spec.task)
    env = gymnasium.make(entry.task.env_id, action_convention=spec.action_convention)
    expert = entry.demonstrator(spec.action_convention)
    histories: list[np.ndarray] = []
    while len(histories) < count:
        observation, _ = env.reset(seed=seed)
        expert.reset(seed)
        seed += 1
        seen = [read_observation(spec, observation)] * (spec.horizons.observe - 1)
        done = False
        while not done:
            seen.append(read_observation(spec, observation))
            if (len(seen) - spec.horizons.observe) % every == 0:
                histories.append(np.stack(seen[-spec.horizons.observe :]))
            observation, _, terminated, truncated, _ = env.step(expert.act(observation).action)
            done = terminated or truncated
    env.close()
    return np.stack(histories[:count])

"""Observations to plan from: what the scripted expert sees on its way."""

import gymnasium
import numpy as np

from paradp.envs import find_task
from paradp.policy import DiffusionPolicy


def expert_histories(policy: DiffusionPolicy, count: int, seed: int, every: int = 13) -> np.ndarray:
    """Histories `[count, To, O]` from the expert's episodes with seeds `seed`, `seed` + 1, …, one each `every` steps."""
    entry = find_task(policy.spec.task)
    env = gymnasium.make(entry.task.env_id, action_convention=policy.spec.action_convention)
    expert = entry.expert(policy.spec.action_convention)
    histories: list[np.ndarray] = []
    while len(histories) < count:
        observation, _ = env.reset(seed=seed)
        expert.reset(seed)
        seed += 1
        seen = [policy.read(observation)] * (policy.spec.horizons.observe - 1)
        done = False
        while not done:
            seen.append(policy.read(observation))
            if (len(seen) - policy.spec.horizons.observe) % every == 0:
                histories.append(np.stack(seen[-policy.spec.horizons.observe :]))
            observation, _, terminated, truncated, _ = env.step(expert.act(observation).action)
            done = terminated or truncated
    env.close()
    return np.stack(histories[:count])

"""`python -m behaviour.observe`: makes `observations.npz` again; needs the simulators.

Legitimate only where a task's observations change, or a policy of a new task comes. The file must not depend on the commits
that are compared, and so is kept in the repository.
"""

import gymnasium
import numpy as np

import paradp.envs
from behaviour.plans import ENVIRONMENTS, OBSERVATIONS
from paradp.checkpoints.finding import pretrained


def main() -> None:
    """Two steps of every task with a policy, at seeds 0 to 7: at the start of the episode, and after one random action."""
    values = {}
    for task in pretrained():
        env = gymnasium.make(paradp.envs.find_task(task).task.env_id).unwrapped
        env.action_space.seed(0)
        steps = []
        for seed in range(ENVIRONMENTS):
            first, _ = env.reset(seed=seed)
            second, *_ = env.step(env.action_space.sample())
            steps.append((first, second))
        for key in steps[0][0]:
            values[f"{task}/{key}"] = np.array([[step[key] for step in pair] for pair in steps], np.float32)
        env.close()
    np.savez_compressed(OBSERVATIONS, **values)


if __name__ == "__main__":
    main()

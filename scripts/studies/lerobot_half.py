"""LeRobot's half of the study `bridges`: run by an interpreter that has LeRobot, with the settings that the study passes.

It reads and writes lines of JSON. LeRobot's policy is used through LeRobot's own calls: processors, `select_action`, queue.
"""

import json
import os
import sys
import time
from collections import deque
from contextlib import redirect_stdout
from importlib.metadata import version
from typing import Any

import gymnasium
import numpy as np
import torch
from lerobot.policies.diffusion.modeling_diffusion import DiffusionPolicy
from lerobot.policies.factory import make_pre_post_processors

from paradp.bridges import parallelize, sampling_of
from paradp.envs import find_task

# "ddpm": the checkpoint's own sampling; "ddim-10": LeRobot's other scheduler; "in place: SAMPLER": with `parallelize`.
IN_PLACE = "in place: "


class Peer:
    """A checkpoint loaded by LeRobot.

    Args:
        job: `checkpoint`, its folder; `task`, the task's name; `observation`, for each key of its features the names of the
            quantities; `steps`, the length limit of an episode.
    """

    def __init__(self, job: dict[str, Any]):
        self._job = job
        self._policies: dict[str, DiffusionPolicy] = {}
        path = job["checkpoint"]
        plain = DiffusionPolicy.from_pretrained(path)
        self._before, self._after = make_pre_post_processors(plain.config, pretrained_path=path)

    def versions(self) -> dict[str, str]:
        """Versions of the packages that compute here."""
        return {name: version(name) for name in ("lerobot", "torch", "numpy", "diffusers", "gym-pusht", "pymunk", "shapely")}

    def episodes(self, way: str, seeds: list[int]) -> list[dict[str, Any]]:
        """Runs episodes in a batch; noise comes from torch's generator, seeded with the first of their seeds."""
        policy = self._policy(way)
        entry = find_task(self._job["task"]).task
        envs = [gymnasium.make(entry.env_id) for _ in seeds]
        seen = [env.reset(seed=seed)[0] for env, seed in zip(envs, seeds, strict=True)]
        first = [np.concatenate([one[key] for key in sorted(one)]).tolist() for one in seen]
        rewards, success, runs = np.zeros(len(seeds)), np.zeros(len(seeds), bool), np.arange(len(seeds))
        torch.manual_seed(seeds[0])
        policy.reset()
        for _ in range(self._job["steps"]):
            actions, ended = self._act(policy, [seen[i] for i in runs]), np.zeros(len(runs), bool)
            for row, i in enumerate(runs):
                low, high = envs[i].action_space.low, envs[i].action_space.high
                seen[i], reward, terminated, truncated, info = envs[i].step(np.clip(actions[row], low, high))
                rewards[i] = max(rewards[i], reward)
                success[i] |= info["success"]
                ended[row] = terminated or truncated
            runs = runs[~ended]
            if not len(runs):
                break
            for name, queue in policy._queues.items():
                # No plans for episodes that have ended.
                policy._queues[name] = deque((one[torch.from_numpy(~ended)] for one in queue), maxlen=queue.maxlen)
        for env in envs:
            env.close()
        rows = zip(seeds, rewards.tolist(), success.tolist(), first, strict=True)
        return [{"seed": seed, "reward": reward, "success": ok, "first": start} for seed, reward, ok, start in rows]

    def plans(self, way: str, histories: list[list[dict[str, list[float]]]]) -> dict[str, Any]:
        """Times a plan at each history, in seconds, from the last observation to the action, including processors."""
        policy = self._policy(way)
        seconds, rounds = [], []
        for i, (*earlier, last) in enumerate(histories):
            torch.manual_seed(i)
            policy.reset()
            for one in earlier:
                self._act(policy, [one])
                policy._queues["action"].clear()
            started = time.perf_counter()
            self._act(policy, [last])
            seconds.append(time.perf_counter() - started)
            if way.startswith(IN_PLACE):
                stats = sampling_of(policy).stats
                assert stats is not None  # set by the plan above
                rounds.append(float(stats.rounds[0]))
        return {"seconds": seconds, "rounds": rounds}

    def _act(self, policy: DiffusionPolicy, seen: list[dict[str, Any]]) -> np.ndarray:
        batch = {
            key: torch.from_numpy(
                np.stack([np.concatenate([one[name] for name in names]) for one in seen]).astype(np.float32)
            )
            for key, names in self._job["observation"].items()
        }
        with torch.inference_mode():
            found: np.ndarray = self._after(policy.select_action(self._before(batch))).numpy()
        return found

    def _policy(self, way: str) -> DiffusionPolicy:
        if way not in self._policies:
            policy = DiffusionPolicy.from_pretrained(self._job["checkpoint"])
            if way == "ddim-10":
                config = policy.config
                config.noise_scheduler_type, config.num_inference_steps = "DDIM", 10
                policy = DiffusionPolicy.from_pretrained(self._job["checkpoint"], config=config)
            elif way.startswith(IN_PLACE):
                parallelize(policy, way.removeprefix(IN_PLACE))
            self._policies[way] = policy.eval()
        return self._policies[way]


def main() -> None:
    """Answers requests until the input ends."""
    torch.set_num_threads(1)
    # Output of libraries must not mix with the answers.
    with os.fdopen(os.dup(1), "w") as answers, redirect_stdout(sys.stderr):
        os.dup2(2, 1)
        peer = Peer(json.loads(sys.stdin.readline()))
        for line in sys.stdin:
            asked = json.loads(line)
            answers.write(json.dumps(getattr(peer, asked.pop("do"))(**asked)) + "\n")
            answers.flush()


if __name__ == "__main__":
    main()

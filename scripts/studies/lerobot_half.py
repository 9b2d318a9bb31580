"""The process with LeRobot in the study `bridges`: runs in LeRobot's interpreter, with settings from the study.

It reads and writes lines of JSON. LeRobot's policy is used through LeRobot's own calls: processors, `select_action`, queue.
"""

import json
import os
import sys
import time
from collections import deque
from contextlib import redirect_stdout
from importlib.metadata import version
from statistics import median
from typing import Any

import numpy as np
import torch
from lerobot.policies.diffusion.modeling_diffusion import DiffusionPolicy
from lerobot.policies.factory import make_pre_post_processors

from paradp.bridges import parallelize, sampling_of
from paradp.bridges.fastest import Fastest
from paradp.bridges.sampling import Network
from paradp.envs.remote import RemoteEnvironments

# "ddpm": the checkpoint's own sampling; "ddim-10": LeRobot's other scheduler; "in place: SAMPLER": with `parallelize`.
IN_PLACE = "in place: "


class Peer:
    """A checkpoint loaded by LeRobot.

    Args:
        job: `checkpoint`, the folder; `observation`, the quantities in each feature, by key; `simulator`, the settings of
            `paradp.envs.remote.RemoteEnvironments`.
    """

    def __init__(self, job: dict[str, Any]):
        self._job = job
        self._policies: dict[str, DiffusionPolicy] = {}
        self._environments: RemoteEnvironments | None = None
        self._count = 0
        path = job["checkpoint"]
        plain = DiffusionPolicy.from_pretrained(path)
        self._before, self._after = make_pre_post_processors(plain.config, pretrained_path=path)

    def versions(self) -> dict[str, str]:
        """Returns the versions of the packages in this process."""
        return {name: version(name) for name in ("lerobot", "torch", "numpy", "diffusers")}

    def episodes(self, way: str, seeds: list[int]) -> list[dict[str, Any]]:
        """Runs episodes in a batch; noise comes from torch's generator, seeded with the first of their seeds."""
        policy, runs, envs = self._policy(way), np.arange(len(seeds)), self._enough_environments(len(seeds))
        described = envs.description
        seen = envs.reset(runs.tolist(), seeds)
        first = np.concatenate([seen[key] for key in sorted(seen)], 1).tolist()
        rewards, success = np.zeros(len(seeds)), np.zeros(len(seeds), bool)
        torch.manual_seed(seeds[0])
        policy.reset()
        while len(runs):
            actions = np.clip(self._act(policy, seen), described.action_low, described.action_high)
            stepped = envs.step(runs.tolist(), actions)
            rewards[runs] = np.maximum(rewards[runs], stepped.reward)
            success[runs] |= stepped.success
            going = ~(stepped.terminated | stepped.truncated)
            seen, runs = {key: values[going] for key, values in stepped.observation.items()}, runs[going]
            for name, queue in policy._queues.items():
                # No plans for ended episodes.
                policy._queues[name] = deque((one[torch.from_numpy(going)] for one in queue), maxlen=queue.maxlen)
        rows = zip(seeds, rewards.tolist(), success.tolist(), first, strict=True)
        return [{"seed": seed, "reward": reward, "success": ok, "first": start} for seed, reward, ok, start in rows]

    def plans(self, way: str, histories: list[list[dict[str, list[float]]]]) -> dict[str, Any]:
        """Times a plan at each history, in seconds, from the last observation to the action, including processors."""
        policy = self._policy(way)
        seconds, rounds = [], []
        for i, history in enumerate(histories):
            *earlier, last = [{key: np.array([values]) for key, values in one.items()} for one in history]
            torch.manual_seed(i)
            policy.reset()
            for one in earlier:
                self._act(policy, one)
                policy._queues["action"].clear()
            started = time.perf_counter()
            self._act(policy, last)
            seconds.append(time.perf_counter() - started)
            if way.startswith(IN_PLACE):
                stats = sampling_of(policy).stats
                assert stats is not None  # set by the plan above
                rounds.append(float(stats.rounds[0]))
        return {"seconds": seconds, "rounds": rounds}

    def large(self, channels: list[int]) -> dict[str, int]:
        """Makes the network with other channels and random weights, which `calls` times."""
        config = DiffusionPolicy.from_pretrained(self._job["checkpoint"]).config
        config.down_dims = tuple(channels)
        diffusion = DiffusionPolicy(config).eval().diffusion
        seen = config.n_obs_steps * sum(one.shape[0] for one in config.input_features.values())
        self._large, self._placed = diffusion.unet, Network(diffusion.unet)
        self._shape, self._condition = (config.horizon, config.action_feature.shape[0]), torch.zeros(1, seen)
        with torch.inference_mode():
            chosen = Fastest(diffusion.noise_scheduler, None).solver(self._placed, self._condition, self._shape)
        return {"parameters": sum(one.numel() for one in self._large.parameters()), "window": chosen.window}

    def calls(self, rows: list[int], count: int, in_place: bool) -> list[float]:
        """Returns the median seconds of the network's calls, for each number of rows, after a warm-up call.

        Args:
            rows: numbers of rows.
            count: calls to time for each of them.
            in_place: whether `parallelize` changed the network.
        """
        found = []
        for n in rows:
            x, t, known = torch.randn(n, *self._shape), torch.zeros(n, dtype=torch.int64), self._condition.repeat(n, 1)
            times = []
            for _ in range(count + 1):
                with torch.inference_mode():
                    started = time.perf_counter()
                    self._placed(x, t, known) if in_place else self._large(x, t, global_cond=known)
                    times.append(time.perf_counter() - started)
            found.append(median(times[1:]))
        return found

    def _enough_environments(self, count: int) -> RemoteEnvironments:
        if self._environments is None or self._count < count:
            if self._environments is not None:
                self._environments.close()
            self._environments, self._count = RemoteEnvironments(count=count, **self._job["simulator"]), count
        return self._environments

    def _act(self, policy: DiffusionPolicy, seen: dict[str, np.ndarray]) -> np.ndarray:
        """Returns the next action of each robot, from its observations by quantity, `[B, n]`."""
        batch = {
            key: torch.from_numpy(np.concatenate([seen[name] for name in names], 1).astype(np.float32))
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

"""A run: episodes of one policy under one sampler, on some workers, kept as they end and summed up."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch

from paradp.checkpoints import find_checkpoint, load_policy, read_info
from paradp.envs import CONTROL_HZ
from paradp.policy import DiffusionPolicy, RecedingHorizon
from paradp.rollouts.directory import RunDirectory
from paradp.rollouts.environments import check_fits, make_envs
from paradp.rollouts.records import Episode
from paradp.rollouts.runner import Subscriber, run_episodes
from paradp.rollouts.summary import (
    Latency,
    Summary,
    hardware,
    latency,
    solver_cost,
    success_and_reward,
    versions,
)
from paradp.rollouts.video import VideoRecorder
from paradp.sampler import SamplerChoice

WARM_UP_PLANS = 2


@dataclass(frozen=True)
class RolloutConfig:
    """What to run.

    Attributes:
        task: the task's name.
        sampler: how to denoise.
        out: the run's directory.
        checkpoint: a pretrained policy's name or a directory; the task's own pretrained policy if `None`.
        episodes: how many.
        seed: of the first episode; episode i has seed + i.
        envs: environments planned together, in each worker.
        workers: processes.
        videos: how many of the first episodes are filmed.
        device: where the network computes.
    """

    task: str
    sampler: SamplerChoice
    out: Path
    checkpoint: str | None = None
    episodes: int = 20
    seed: int = 0
    envs: int = 1
    workers: int = 1
    videos: int = 0
    device: str = "cpu"

    def __post_init__(self) -> None:
        for name in ("episodes", "envs", "workers"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
        if self.seed < 0 or self.videos < 0:
            raise ValueError("seed and videos must not be negative")

    @property
    def seeds(self) -> range:
        return range(self.seed, self.seed + self.episodes)

    @property
    def alone(self) -> bool:
        """Whether the run itself has one environment at a time."""
        return self.envs == 1 and self.workers == 1

    @property
    def filmed(self) -> set[int]:
        """Seeds of the episodes that are filmed."""
        return set(self.seeds[: self.videos])

    @property
    def threads(self) -> int:
        """Of each worker: the cores are shared out."""
        return max(1, (os.cpu_count() or 1) // self.workers)

    def load(self) -> DiffusionPolicy:
        """The policy, checked against the task."""
        policy = load_policy(self.checkpoint or self.task, self.sampler, self.device)
        check_fits(policy.spec, self.task)
        return policy

    def identity(self) -> dict[str, Any]:
        """Everything that the run's numbers depend on."""
        return {
            "task": self.task,
            "sampler": str(self.sampler),
            "model_sha256": read_info(find_checkpoint(self.checkpoint or self.task)).model_sha256,
            "seed": self.seed,
            "envs": self.envs,
            "workers": self.workers,
            "threads": self.threads,
            "device": self.device,
        }


def rollout(config: RolloutConfig, on_progress: Callable[[int], None] = lambda episodes: None) -> Summary:
    """Runs the episodes that are still missing in `config.out`, and sums up all of them.

    Args:
        config: what to run.
        on_progress: told how many episodes are finished.

    Raises:
        ValueError: task, sampler or checkpoint are unknown or do not fit each other, or `config.out` holds another run.
        ChildProcessError: a worker died; what it had finished is kept.
    """
    policy = config.load()
    directory = RunDirectory(config.out)
    directory.open(config.identity())
    torch.set_num_threads(config.threads)
    missing = [seed for seed in config.seeds if seed not in directory.seeds()]

    def report() -> None:
        on_progress(len(directory.seeds() & set(config.seeds)))

    report()
    if config.workers == 1:
        _run(config, missing, report)
    else:
        _run_in_processes(config, missing, report)
    episodes = directory.episodes(config.seeds)
    directory.write_tables(episodes)
    alone = latency(episodes) if config.alone else measure_alone(policy, config.task, config.seed)
    summary = _summarise(config, episodes, alone)
    summary.write(config.out / "summary.json")
    return summary


def measure_alone(policy: DiffusionPolicy, task: str, seed: int) -> Latency:
    """Latency over one episode with a single environment, after warm-up."""
    warm_up(policy, 1)
    envs = make_envs(task, 1, policy.spec.action_convention)
    try:
        return latency(list(run_episodes(envs, [RecedingHorizon(policy)], [seed])))
    finally:
        envs.close()


def warm_up(policy: DiffusionPolicy, batch: int) -> None:
    """Plans for nobody, so that one-time costs are not taken for latency."""
    histories = np.zeros((batch, policy.spec.horizons.observe, policy.spec.observation_size), np.float32)
    for _ in range(WARM_UP_PLANS):
        policy.plan(histories, [torch.Generator().manual_seed(i) for i in range(batch)])


def _run(config: RolloutConfig, seeds: Sequence[int], on_episode: Callable[[], None]) -> None:
    """Runs some of the episodes in this process and keeps each as it ends."""
    if not seeds:
        return
    policy = config.load()
    warm_up(policy, config.envs)
    directory = RunDirectory(config.out)
    filmed = config.filmed & set(seeds)
    subscribers: list[Subscriber] = [VideoRecorder(config.out / "videos", filmed, CONTROL_HZ)] if filmed else []
    envs = make_envs(config.task, min(config.envs, len(seeds)), policy.spec.action_convention, render=bool(filmed))
    try:
        for episode in run_episodes(envs, [RecedingHorizon(policy) for _ in envs.envs], seeds, subscribers):
            directory.add(episode)
            on_episode()
    finally:
        envs.close()


def _run_in_processes(config: RolloutConfig, seeds: Sequence[int], on_poll: Callable[[], None]) -> None:
    """Deals the episodes out to the workers; the files they write say how far they are."""
    shares = [share for i in range(config.workers) if (share := seeds[i :: config.workers])]
    with ProcessPoolExecutor(config.workers, get_context("spawn")) as pool:
        unfinished = {pool.submit(_work, config, share) for share in shares}
        while unfinished:
            done, unfinished = wait(unfinished, timeout=0.5, return_when=FIRST_EXCEPTION)
            on_poll()
            try:
                for future in done:
                    future.result()
            except BrokenProcessPool:
                raise ChildProcessError(
                    f"a worker died; its finished episodes are kept in {config.out}: run the same command again to continue"
                ) from None


def _work(config: RolloutConfig, seeds: Sequence[int]) -> None:
    torch.set_num_threads(config.threads)
    _run(config, seeds, lambda: None)


def _summarise(config: RolloutConfig, episodes: Sequence[Episode], alone: Latency) -> Summary:
    path = find_checkpoint(config.checkpoint or config.task)
    success, reward = success_and_reward(episodes)
    seconds = sum(e.seconds for e in episodes)
    places = min(config.envs * config.workers, len(episodes))
    return Summary(
        task=config.task,
        sampler={"name": config.sampler.name, "settings": dict(config.sampler.options)},
        episodes=len(episodes),
        success=success,
        reward=reward,
        latency_ms=latency(episodes),
        latency_ms_batch1=alone,
        solver=solver_cost(episodes),
        seconds_per_episode=seconds / len(episodes),
        throughput_steps_per_s=sum(len(e.steps) for e in episodes) * places / seconds,
        clock="ideal",
        checkpoint={"name": path.name, "sha256": read_info(path).model_sha256},
        envs=config.envs,
        workers=config.workers,
        threads=config.threads,
        seed=config.seed,
        hardware=hardware(),
        versions=versions(),
    )

"""Runs episodes of a policy that LeRobot trained: by LeRobot in several parallel processes, and by paradp."""

import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from paradp.policy.files import write_whole
from paradp.policy.files.tables import read_table
from paradp.rollouts import rollout
from paradp.rollouts.episodes.config import RolloutConfig
from paradp.sampler import SamplerChoice
from paradp.scripts.console import progress
from paradp.scripts.studies.lerobot_peer import LeRobotPeer

Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class ClosedEpisodes:
    """Episodes of one way to sample, by seed."""

    success: dict[int, bool]
    reward: dict[int, float]


def our_episodes(task: str, runs: Path, checkpoint: Path, sampler: str, seeds: range, together: int) -> ClosedEpisodes:
    """Runs episodes with `paradp rollout`, which continues an interrupted run."""
    out = runs / f"paradp-{sampler.replace(':', '_')}"
    choice = SamplerChoice.parse(sampler)
    rollout(RolloutConfig(task, choice, out, str(checkpoint), len(seeds), seeds.start, together, threads=1))
    table = read_table(out / "episodes.parquet", ("seed", "success", "reward"))
    numbers = [int(one) for one in table["seed"]]
    return ClosedEpisodes(
        dict(zip(numbers, map(bool, table["success"]), strict=True)),
        dict(zip(numbers, map(float, table["reward"]), strict=True)),
    )


def their_episodes(
    start: Callable[[], LeRobotPeer], processes: int, runs: Path, ways: Sequence[str], seeds: range, together: int
) -> dict[str, ClosedEpisodes]:
    """Runs episodes with LeRobot, in groups; each finished group is stored beside paradp's runs, and is not run again.

    Args:
        start: starts a process that has LeRobot.
        processes: how many of them run groups at the same time. A group's noise is drawn from its first seed, so it does
            not matter which of them runs it.
        runs: the folder of runs.
        ways: ways to sample.
        seeds: of the episodes.
        together: episodes of a group, side by side.
    """
    found = {way: _kept(_file(runs, way)) for way in ways}
    groups = [seeds[i : i + together] for i in range(0, len(seeds), together)]
    done = {way: {row["seed"] for row in rows} for way, rows in found.items()}
    jobs = [(way, group) for group in groups for way in ways if not done[way].issuperset(group)]
    idle: SimpleQueue[LeRobotPeer] = SimpleQueue()

    def play(job: tuple[str, range]) -> Rows:
        peer = idle.get()
        try:
            return peer.episodes(*job)
        finally:
            idle.put(peer)

    # The processes outlive the threads that use them.
    with ExitStack() as stack, progress("LeRobot's episodes", len(jobs)) as report:
        for _ in range(min(processes, len(jobs))):
            idle.put(stack.enter_context(start()))
        pool = stack.enter_context(ThreadPoolExecutor(max(processes, 1)))
        for finished, ((way, _), rows) in enumerate(zip(jobs, pool.map(play, jobs), strict=True), 1):
            found[way] += rows
            write_whole(_file(runs, way), json.dumps(found[way]).encode())
            report(finished)
    return {way: _closed(rows, seeds) for way, rows in found.items()}


def _file(runs: Path, way: str) -> Path:
    return runs / f"lerobot-{way.replace(': ', '-')}.json"


def _kept(path: Path) -> Rows:
    rows: Rows = json.loads(path.read_text()) if path.exists() else []
    return rows


def _closed(rows: Rows, seeds: range) -> ClosedEpisodes:
    kept = [row for row in rows if row["seed"] in seeds]
    return ClosedEpisodes({row["seed"]: row["success"] for row in kept}, {row["seed"]: row["reward"] for row in kept})

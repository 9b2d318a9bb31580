"""How many episodes an hour: one worker, two workers, what limits them, and what 64 cores should do."""

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from paradp.checkpoints import checkpoint_digest
from paradp.rollouts import Episode, RolloutConfig
from paradp.rollouts.episodes.backends import Job, LocalProcesses
from paradp.rollouts.machine import cores, versions
from paradp.sampler import SamplerChoice
from paradp.scripts.console import each
from paradp.scripts.report import markdown_table, write_report
from paradp.scripts.studies.context import Context
from paradp.scripts.studies.overhead import measure_overhead
from paradp.scripts.studies.registry import study

SAMPLERS = ("speculative-ddpm:window=8", "ddim-10")
WORKERS = (1, 2)
ENVS, STEPS, GROUPS, REPEATS = 10, 50, 3, 3
FAR = 64


@dataclass(frozen=True)
class Throughput:
    """Control steps a second of all workers together, and the share of a worker's time inside the controller."""

    steps_per_second: float
    planning: float


@study
def study_throughput(context: Context) -> None:
    """Writes OUT/TASK-throughput.md."""
    taken: dict[tuple[str, int], list[Throughput]] = {(s, w): [] for s in SAMPLERS for w in WORKERS}
    for repeat in each(f"{context.task}, repeats", range(REPEATS)):
        for sampler, workers in taken:
            taken[sampler, workers].append(_measure(context.task, sampler, workers, 50_000 + 1000 * repeat))
    medians = {key: _median(measured) for key, measured in taken.items()}
    rows = [_row(sampler, *(medians[sampler, workers] for workers in WORKERS)) for sampler in SAMPLERS]
    page = _page(rows, measure_overhead(context.task).bare)
    write_report(context.out / f"{context.task}-throughput.md", f"{context.task}: throughput of an evaluation", page)


_HEADER = ["sampler", "steps/s, 1 worker", "steps/s, 2 workers", "efficiency", "planning, 1 worker", "planning, 2 workers",
           f"{FAR} cores"]  # fmt: skip


def _row(sampler: str, one: Throughput, two: Throughput) -> list[str]:
    """Of a sampler, by one worker and by two, and what those say of `FAR`."""
    efficiency = two.steps_per_second / (2 * one.steps_per_second)
    likely = min(efficiency, 1.0)  # more than twice as fast is noise
    optimistic = FAR * one.steps_per_second * likely
    pessimistic = FAR * one.steps_per_second * likely ** math.log2(FAR)
    return [
        sampler,
        f"{one.steps_per_second:.0f}",
        f"{two.steps_per_second:.0f}",
        f"{efficiency:.0%}",
        f"{one.planning:.0%}",
        f"{two.planning:.0%}",
        f"{pessimistic:.0f} to {optimistic:.0f}",
    ]


def _page(rows: list[list[str]], bare: float) -> str:
    """The page.

    Args:
        rows: of its table.
        bare: control steps a second of the simulator alone.
    """
    return f"""
Control steps a second over all workers, one thread each, {ENVS} environments planned together, {GROUPS} groups of them a
worker, of which the first and the last are not counted (others are still loading, or have finished), {STEPS} steps an
episode, on {cores()} cores; medians of {REPEATS} repeats in turns. *Planning*: the share of a worker's time inside the
controller; the rest is the simulator, whose bare speed on one core is {bare:.0f} steps a second, and the loop.

{markdown_table(_HEADER, rows)}

What limits it: a worker takes turns between simulating and planning and keeps one core busy with both; while one plans,
others simulate. Within a worker the two do not overlap: the latency of a plan is measured without another group's work
beside it. Workers share nothing but the machine — memory, caches, clock — so that what two lose against twice one is the
machine's.

The last column is a projection, not a measurement. It assumes {FAR} workers of one thread on cores like these. The higher
figure takes the efficiency of two workers for that of {FAR}: memory and caches grow with the cores, as in a cluster's nodes.
The lower one loses as much again with every doubling, as on one chip whose memory does not grow. The driver is no limit in
either: it receives one group of episodes after another, some hundred kilobytes each.
"""


def _measure(task: str, sampler: str, workers: int, seed: int) -> Throughput:
    config = RolloutConfig(
        task,
        SamplerChoice.parse(sampler),
        Path(os.devnull),
        episodes=ENVS * GROUPS * workers,
        seed=seed,
        envs=ENVS,
        threads=1,
        max_steps=STEPS,
    )
    sha256 = checkpoint_digest(config.checkpoint_path)
    groups: dict[int, list[Episode]] = {}
    packages = tuple(versions().items())
    for job, episodes in LocalProcesses(workers).run([Job(config, seeds, sha256, packages) for seeds in config.groups]):
        groups[job.seeds.start] = episodes
    # Of each worker the first group starts while others load, and the last may end alone.
    counted = sorted(groups.values(), key=lambda group: group[0].started)[workers:-workers]
    return Throughput(sum(_speed(group) for group in counted) / (len(counted) / workers), median(map(_planning, counted)))


def _speed(group: Sequence[Episode]) -> float:
    return sum(len(episode.steps) for episode in group) / max(episode.seconds for episode in group)


def _planning(group: Sequence[Episode]) -> float:
    """The share of planning in the longest episode; environments that act together record the same seconds."""
    longest = max(group, key=lambda episode: len(episode.steps))
    return sum(step.seconds for step in longest.steps) / longest.seconds


def _median(taken: list[Throughput]) -> Throughput:
    return Throughput(median(m.steps_per_second for m in taken), median(m.planning for m in taken))

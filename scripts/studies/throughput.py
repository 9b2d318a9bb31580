"""Measures the throughput of an evaluation with one and two workers, and projects it to 64 cores."""

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
    """Control steps per second of all workers together, and the share of a worker's time inside the controller."""

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
    """A sampler's row: one worker, two workers, and the projection to `FAR` cores."""
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
    """The text of the page.

    Args:
        rows: rows of its table.
        bare: control steps per second of the simulator alone.
    """
    return f"""
Control steps per second of all workers together, with one thread each, on {cores()} cores; medians of {REPEATS} repeats in
turns. A worker plans for {ENVS} environments in a batch, and runs {GROUPS} such groups with {STEPS} steps per episode. The
first and the last group are not counted, because other workers are then still loading, or have finished. *Planning* is the
share of a worker's time inside the controller. The rest is the loop and the simulator, whose speed alone on one core is
{bare:.0f} steps per second.

{markdown_table(_HEADER, rows)}

Limits: a worker alternates between simulating and planning, and keeps one core busy. While one worker plans, others
simulate. Within a worker the two do not overlap, so that the latency of a plan is measured without other work at the same
time. Workers only share the machine: memory, caches and clock frequency. So the efficiency of two workers is limited by the
machine alone.

The last column is a projection, not a measurement. It assumes {FAR} workers with one thread each, on cores like these. The
higher figure assumes that {FAR} workers have the efficiency of two: memory and caches grow with the number of cores, as in
the nodes of a cluster. The lower figure assumes the same relative loss at every doubling, as on one chip with a fixed memory
bandwidth. The driver limits neither: it receives one group of episodes after another, some hundred kilobytes each.
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
    # The first group of a worker starts while others load, and the last may run alone.
    counted = sorted(groups.values(), key=lambda group: group[0].started)[workers:-workers]
    return Throughput(sum(_speed(group) for group in counted) / (len(counted) / workers), median(map(_planning, counted)))


def _speed(group: Sequence[Episode]) -> float:
    return sum(len(episode.steps) for episode in group) / max(episode.seconds for episode in group)


def _planning(group: Sequence[Episode]) -> float:
    """The share of planning in the longest episode. Environments planned in one batch record the same seconds."""
    longest = max(group, key=lambda episode: len(episode.steps))
    return sum(step.seconds for step in longest.steps) / longest.seconds


def _median(taken: list[Throughput]) -> Throughput:
    return Throughput(median(m.steps_per_second for m in taken), median(m.planning for m in taken))

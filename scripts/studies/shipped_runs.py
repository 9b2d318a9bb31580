"""Finished runs of the shipped weights: those of an evaluation, and those kept beside the pages.

A page of results can so be measured again, or completed by other samplers, without the episodes of days:

OUT/episodes/TASK/SAMPLER/    summary.json and episodes.parquet of a run
"""

import shutil
from collections.abc import Iterable
from pathlib import Path

from paradp.checkpoints import find_checkpoint, read_info
from paradp.envs import all_tasks
from paradp.rollouts.evaluation.comparison import Comparison, compare
from paradp.rollouts.evaluation.grid import cell_folder, folder
from paradp.scripts.studies.context import Context

REFERENCE = "ddpm"
SUMMARY, EPISODES = "summary.json", "episodes.parquet"


def evaluated_tasks(context: Context, samplers: str, kept: bool) -> list[str]:
    """The tasks that were evaluated in RUNS/TASK.

    Args:
        samplers: those to evaluate, for the error message.
        kept: whether kept runs count, too.

    Raises:
        ValueError: there are none.
    """
    tasks = [
        task for task in all_tasks() if (context.runs / task).exists() or (kept and _kept(context, task, REFERENCE).exists())
    ]
    if not tasks:
        raise ValueError(
            f"{context.runs} holds no evaluation of a task; make them with"
            f" `paradp evaluate TASK --samplers {samplers} --out {context.runs}/TASK`"
        )
    return tasks


def read_runs(context: Context, task: str, samplers: Iterable[str], required: Iterable[str] = (REFERENCE,)) -> Comparison:
    """Reads the runs of a task's shipped weights, with the ideal clock and without disturbances.

    Args:
        samplers: those whose runs to read, if there are any; a run in RUNS is preferred to a kept one.
        required: samplers that must have a run.

    Raises:
        ValueError: a required run is missing, or a run has other weights or conditions.
    """
    found = {sampler: path for sampler in samplers if (path := _finished(context, task, sampler))}
    for sampler in required:
        if sampler not in found:
            raise ValueError(f"{context.runs / task} has no finished episodes of {sampler}")
    comparison = compare(found, REFERENCE, steps=False)
    shipped = read_info(find_checkpoint(task)).model_sha256
    for run in comparison.runs:
        if run.summary.checkpoint["sha256"] != shipped:
            raise ValueError(f"{found[run.label]} evaluated other weights than those shipped for {task}")
        if (run.summary.clock, run.summary.disturbance, run.summary.controller) != ("ideal", None, "sync"):
            raise ValueError(f"{found[run.label]} is disturbed, or is of another clock or controller")
    return comparison


def keep_runs(context: Context, task: str, samplers: Iterable[str]) -> None:
    """Keeps the runs of RUNS/TASK beside the pages."""
    for sampler in samplers:
        run, kept = cell_folder(context.runs / task, sampler), _kept(context, task, sampler)
        if (run / SUMMARY).exists():
            kept.mkdir(parents=True, exist_ok=True)
            for name in (EPISODES, SUMMARY):
                shutil.copyfile(run / name, kept / name)


def _finished(context: Context, task: str, sampler: str) -> Path | None:
    places = (cell_folder(context.runs / task, sampler), _kept(context, task, sampler))
    return next((place for place in places if (place / SUMMARY).exists()), None)


def _kept(context: Context, task: str, sampler: str) -> Path:
    return context.out / "episodes" / task / folder(sampler)

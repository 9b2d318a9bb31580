"""`paradp collect`: demonstrations by the scripted expert."""

from pathlib import Path

import tyro

from paradp.envs import find_task
from paradp.rollouts.collect import DEFAULT_DISTURBANCE
from paradp.rollouts.collect import collect as run
from paradp.scripts.console import console, progress


def collect(
    task: tyro.conf.Positional[str],
    episodes: int = 200,
    out: Path | None = None,
    action_convention: str | None = None,
    seed: int = 1_000_000,
    workers: int | None = None,
) -> None:
    """Collect demonstrations: the task's scripted expert acts on all cores, and its successes are kept.

    A collection that was interrupted continues when the same command is given again.

        paradp collect square --episodes 200 --out demos/square.zarr

    Args:
        task: the task's name; `paradp tasks` lists them.
        episodes: how many successes the file shall hold.
        out: the zarr group; demos/TASK.zarr by default.
        action_convention: what the actions mean; the task's first by default, `paradp tasks TASK` shows them.
        seed: of the first episode tried; evaluations count up from 0, so that they see other episodes.
        workers: processes; one for each core by default.
    """
    path = out or Path(f"demos/{task}.zarr")
    with progress(f"{task} demonstrations", episodes) as report:
        done = run(
            task,
            episodes,
            path,
            action_convention or find_task(task).task.conventions[0],
            DEFAULT_DISTURBANCE,
            seed,
            workers,
            lambda kept, tried: report(kept, f"{tried} tried"),
        )
    console.print(f"{len(done)} episodes, {done.steps} steps in {path}")

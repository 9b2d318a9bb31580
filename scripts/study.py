"""`paradp study`: repeats the measurements of docs/results."""

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import tyro
from rich.table import Table

from paradp.envs import find_task
from paradp.scripts.call import TaskName
from paradp.scripts.console import console, doing, loading, say
from paradp.scripts.places import check_device, check_folder


# Long: its parameters are the command's options, and its docstring is their help.
def study(
    name: Annotated[tyro.conf.Positional[str | None], tyro.conf.arg(metavar="[STUDY]")] = None,
    task: TaskName = "square",
    out: Path = Path("docs/results"),
    runs: Path = Path("runs"),
    device: str = "cpu",
    lerobot_python: Path | None = None,
) -> None:
    """Repeat the measurements of docs/results with a task's pretrained policy. A study takes minutes to hours.

        paradp study
        paradp study agreement square
        paradp study solvers square --runs runs/square-samplers

    Some studies need the runs or trainings that --runs names. Studies are part of the repository, but not of the
    installed package.

    Args:
        name: the study; without a name, all are listed.
        task: the task's name.
        out: directory of the page and its picture.
        runs: solvers and tolerances also show the success of rollouts found here (`paradp rollout --sampler a,b --out
            RUNS`), and engines compares them; variants and convergence compare the trainings found here (`paradp train
            --out RUNS/NAME`), tasks the evaluations (`paradp evaluate TASK --samplers
            paper,speculative-ddpm:window=8,sde-dpm-solver-8:spacing=sine --out RUNS/TASK`), and front those of
            `--samplers front`. tasks and front keep their episodes in OUT/episodes, and read them from there if RUNS has
            none.
        device: where scaling measures calls of the network: cpu or cuda.
        lerobot_python: the interpreter of an environment with LeRobot, for bridges and bridges-large, whose policy is
            RUNS/checkpoint, and for loading, which reads demonstrations with images in RUNS/demos.zarr.
    """
    if find_spec("paradp.scripts.studies") is None:
        raise ValueError("studies are part of paradp's repository, not of the installed package")
    from paradp.scripts.studies.registry import catalogue, find_study

    if name is None:
        console.print(_listed(catalogue()))
        return
    load = find_study(name)
    find_task(task)
    check_folder(out)
    check_device(device)
    with loading():
        measure = load()
        from paradp.policy.files.writing import naming_file
        from paradp.scripts.studies.context import Context
    with doing(f"{name} on {task}"), naming_file(out, unless_named=True):
        measure(Context(task, out, runs, device, lerobot_python))
    for path in sorted([*out.glob(f"{task}-{name}*"), *out.glob(f"{name}*")]):
        say(str(path))


def _listed(studies: dict[str, str]) -> Table:
    table = Table("study", "what it measures")
    for name, question in studies.items():
        table.add_row(name, question)
    return table

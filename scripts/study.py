"""`paradp study`: rerun what docs/results shows."""

from importlib import import_module
from pathlib import Path
from typing import Literal

import tyro

from paradp.envs import find_task
from paradp.scripts.call import TaskName
from paradp.scripts.console import doing, loading, say
from paradp.scripts.places import check_folder

Name = Literal[
    "agreement",
    "spread",
    "distributions",
    "solvers",
    "windows",
    "grids",
    "tolerances",
    "variants",
    "mixture",
    "loop-cost",
    "engines",
    "throughput",
    "real-time",
    "serving",
    "experts",
    "simulator",
    "tasks",
    "film",
    "convergence",
    "rivals",
    "drafts",
    "front",
    "redraw",
]


def study(
    name: tyro.conf.Positional[Name],
    task: TaskName = "square",
    out: Path = Path("docs/results"),
    runs: Path = Path("runs"),
) -> None:
    """Measure again what docs/results shows, with a task's pretrained policy; each study takes a few minutes.

        paradp study agreement square
        paradp study solvers square --runs runs/square-samplers

    Args:
        name: agreement: ParaDDPM against sequential DDPM on the same noise. spread: plans beside the expert's.
            distributions: do samplers draw plans of DDPM's law? solvers: all parallel samplers. windows: wide
            and narrow ones, and memory. grids: fewer timesteps, evenly spread and fitted to every pretrained
            policy. tolerances: and budgets of rounds. variants: other schedules, prediction types and networks.
            mixture: one dimension, exact denoiser. loop-cost: where the time of a control step goes, and steps a
            second beside the usual loop. engines: success of rollouts that differ in their engine. throughput:
            control steps a second of one and two workers. real-time: ten minutes of 20 Hz, alone and with a hog
            beside. serving: one server for one to eight robots. experts: success and variety of every task's.
            simulator: the compiled control step beside robosuite's own. tasks: every task's policy beside the
            others. film: frames of one episode. front: the map of latency against fidelity, success and jerk.
            convergence: the bound from Lipschitz constants beside observed rounds. rivals: a distilled policy and a flow
            beside the samplers of the shipped one. drafts: what each kind of draft saves, and what bounds it.
            redraw: measures nothing; draws the pictures of OUT again from the tables of their pages.
        task: the task's name.
        out: where the page and its picture go.
        runs: solvers and tolerances also show the success of rollouts found here (`paradp rollout --sampler a,b --out
            RUNS`), and engines compares them; variants and convergence compare the trainings found here (`paradp train
            --out RUNS/NAME`), tasks the evaluations (`paradp evaluate TASK --samplers paper,speculative-ddpm:window=8
            --out RUNS/TASK`), and front those of `--samplers front`.
    """
    find_task(task)
    check_folder(out)
    module = name.replace("-", "_")
    with loading():
        from paradp.policy.files.writing import naming_file
        from paradp.scripts.studies.context import Context

        measure = getattr(import_module(f"paradp.scripts.studies.{module}"), f"study_{module}")
    with doing(f"{name} on {task}"), naming_file(out, unless_named=True):
        measure(Context(task, out, runs))
    for path in sorted([*out.glob(f"{task}-{name}*"), *out.glob(f"{name}*")]):
        say(str(path))

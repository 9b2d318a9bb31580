"""`paradp study`: rerun what docs/results shows."""

from collections.abc import Callable
from pathlib import Path
from typing import Literal

import tyro

from paradp.scripts.console import console
from paradp.scripts.studies.agreement import study_agreement
from paradp.scripts.studies.context import Context
from paradp.scripts.studies.distributions import study_distributions
from paradp.scripts.studies.engines import study_engines
from paradp.scripts.studies.experts import study_experts
from paradp.scripts.studies.film import study_film
from paradp.scripts.studies.loop_cost import study_loop_cost
from paradp.scripts.studies.mixture import study_mixture
from paradp.scripts.studies.real_time import study_real_time
from paradp.scripts.studies.serving import study_serving
from paradp.scripts.studies.solvers import study_solvers
from paradp.scripts.studies.spread import study_spread
from paradp.scripts.studies.tasks import study_tasks
from paradp.scripts.studies.throughput import study_throughput
from paradp.scripts.studies.tolerances import study_tolerances
from paradp.scripts.studies.variants import study_variants
from paradp.scripts.studies.windows import study_windows

Name = Literal[
    "agreement",
    "spread",
    "distributions",
    "solvers",
    "windows",
    "tolerances",
    "variants",
    "mixture",
    "loop-cost",
    "engines",
    "throughput",
    "real-time",
    "serving",
    "experts",
    "tasks",
    "film",
]
STUDIES: dict[Name, Callable[[Context], None]] = {
    "agreement": study_agreement,
    "spread": study_spread,
    "distributions": study_distributions,
    "solvers": study_solvers,
    "windows": study_windows,
    "tolerances": study_tolerances,
    "variants": study_variants,
    "mixture": study_mixture,
    "loop-cost": study_loop_cost,
    "engines": study_engines,
    "throughput": study_throughput,
    "real-time": study_real_time,
    "serving": study_serving,
    "experts": study_experts,
    "tasks": study_tasks,
    "film": study_film,
}


def study(
    name: tyro.conf.Positional[Name],
    task: tyro.conf.Positional[str] = "square",
    out: Path = Path("docs/results"),
    runs: Path = Path("runs"),
) -> None:
    """Measure again what docs/results shows, with a task's pretrained policy; each study takes a few minutes.

        paradp study agreement square
        paradp study solvers square --runs runs/square-samplers

    Args:
        name: agreement: ParaDDPM against sequential DDPM on the same noise. spread: plans beside the expert's.
            distributions: do samplers draw plans of DDPM's law? solvers: all parallel samplers. windows: wide and narrow
            ones, and memory. tolerances: and budgets of rounds. variants: other schedules, prediction types and
            networks. mixture: one dimension, exact denoiser. loop-cost: where the time of a control step goes, and steps
            a second beside the usual loop. engines: success of rollouts that differ in their engine. throughput: control
            steps a second of one and two workers. real-time: ten minutes of 20 Hz, alone and with a hog beside. serving:
            one server for one to eight robots. experts: success and variety of every task's. tasks: every task's policy
            beside the others. film: frames of one episode.
        task: the task's name.
        out: where the page and its picture go.
        runs: solvers and tolerances also show the success of rollouts found here (`paradp rollout --sampler a,b --out
            RUNS`), and engines compares them; variants compares the trainings found here (`paradp train --out RUNS/NAME`),
            tasks the evaluations (`paradp evaluate TASK --samplers paper,speculative-ddpm:window=8 --out RUNS/TASK`).
    """
    with console.status(f"{name} on {task} …"):
        STUDIES[name](Context(task, out, runs))
    for path in sorted([*out.glob(f"{task}-{name}*"), *out.glob(f"{name}*")]):
        console.print(str(path))

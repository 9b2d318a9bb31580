"""`paradp study`: rerun what docs/results shows."""

from collections.abc import Callable
from pathlib import Path
from typing import Literal

import tyro

from paradp.scripts.console import console
from paradp.scripts.studies.agreement import study_agreement
from paradp.scripts.studies.film import study_film
from paradp.scripts.studies.loop_cost import study_loop_cost
from paradp.scripts.studies.solvers import study_solvers
from paradp.scripts.studies.spread import study_spread

STUDIES: dict[str, Callable[[str, Path], None]] = {
    "agreement": study_agreement,
    "spread": study_spread,
    "solvers": study_solvers,
    "loop-cost": study_loop_cost,
    "film": study_film,
}


def study(
    name: tyro.conf.Positional[Literal["agreement", "spread", "solvers", "loop-cost", "film"]],
    task: tyro.conf.Positional[str] = "square",
    out: Path = Path("docs/results"),
) -> None:
    """Measure again what docs/results shows, with a task's pretrained policy; each study takes a few minutes.

        paradp study agreement square

    Args:
        name: agreement: ParaDDPM against sequential DDPM on the same noise. spread: plans beside the expert's. solvers: all
            parallel samplers. loop-cost: where the time of a control step goes. film: frames of one episode.
        task: the task's name.
        out: where the page and its picture go.
    """
    with console.status(f"{name} on {task} …"):
        STUDIES[name](task, out)
    for path in sorted(out.glob(f"{task}-{name}*")):
        console.print(str(path))

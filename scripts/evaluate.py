"""`paradp evaluate`: compares samplers, clocks and controllers by success and latency."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, get_args

import tyro

from paradp.envs import find_task
from paradp.policy.wording import counted
from paradp.rollouts.episodes.clocks import ClockChoice, ControllerName
from paradp.rollouts.episodes.config import RolloutConfig
from paradp.rollouts.machine import cores
from paradp.scripts.call import Count, Several, TaskName
from paradp.scripts.console import ALONE, Phases, console, doing, loading, say
from paradp.scripts.lists import DEFAULT, SETS, Clocks, Words, listed, one_of, words
from paradp.scripts.places import (
    NO_DISTURBANCE,
    check_continues,
    check_device,
    check_file,
    check_folder,
    check_simulator,
    checkpoint_of,
    default_out,
    disturbance_of,
)
from paradp.scripts.sampler_names import read_sampler
from paradp.scripts.task_facts import naming_facts_of
from paradp.scripts.typed_settings import Typed, options_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from paradp.rollouts.episodes.backends import EpisodeBackend
    from paradp.rollouts.evaluation.comparison import Comparison
    from paradp.rollouts.evaluation.grid import Grid

Counts = Annotated[tuple[Count, ...], listed(int, "INT"), DEFAULT]
Controllers = Annotated[tuple[ControllerName, ...], listed(one_of(get_args(ControllerName)), "NAME"), DEFAULT]


@options_of(
    RolloutConfig,
    without=("threads", "videos", "execute", "clock", "controller", "disturbance", "max_steps"),
    defaults={"episodes": 200, "seed": 100_000, "envs": 20},
)
class Flags(Typed[RolloutConfig]):
    """The settings that all cells share.

    Attributes:
        episodes: episodes of each cell; episode i has seed SEED + i in all cells.
        envs: environments per batch of plans. It affects results by rounding; --workers does not.
    """


DEFAULT_BASE = Flags()


# Long: its parameters are the command's options, and its docstring is their help.
def evaluate(
    task: TaskName,
    samplers: str = "ddpm,auto,ddim-10",
    execute: Counts = (),
    clock: Clocks = ("ideal",),
    controller: Controllers = ("sync",),
    disturbance: Words = (NO_DISTURBANCE,),
    max_steps: Counts = (),
    baseline: str | None = None,
    threads: Several = 1,
    workers: Several | None = None,
    backend: Literal["local", "ray"] = "local",
    address: str | None = None,
    out: Path | None = None,
    page: Path | None = None,
    cells: tyro.conf.OmitArgPrefixes[Flags] = DEFAULT_BASE,
) -> None:
    """Run every combination of samplers, horizons, clocks, … on the same episodes, and compare each with a baseline.

    Success with intervals, paired losses, latencies, film strips and a plot of success against latency go to
    OUT/report.html (one file) and OUT/report.md, all measurements to OUT/cells.parquet, episodes.parquet and
    steps.parquet. The same command continues an interrupted evaluation, also with a larger --episodes.
    Separate several values by commas or blanks.

        paradp evaluate square --samplers ddpm,auto,para-ddpm,ddim-10
        paradp evaluate square --samplers auto --out runs/late \\
            --clock ideal fixed:200 fixed:740 --controller sync ahead
        paradp evaluate square --samplers ddpm,ddim-10 \\
            --disturbance none push --backend ray --address 10.0.0.1:6379
        paradp evaluate lift --samplers paper --out runs/lift-paper

    Args:
        task: the task's name; `paradp tasks` lists them.
        samplers: one or several samplers: auto, ddpm, ddim-10, para-ddpm:window=8, …; `paradp info samplers` lists all, with
            their options. `paper`: the samplers of ParaDiGMS' robotics table, which the report then contains. `front`:
            the samplers of docs/results/front.md, one for each set of steps.
        execute: actions executed before the next chunk, one or several numbers; the checkpoint's own by default.
        clock: simulated time of a plan, one or several of ideal (none, the simulation waits), measured (as long as the plan
            takes here; such cells run a single robot, after all others), fixed:MS, and replay:FILE (a run's alone.parquet).
        controller: one or several of sync, ahead, ahead-blend and ahead-inpaint. sync requests a chunk when the last one is
            used up, ahead before that. ahead-blend blends each chunk with the remaining actions of the last one;
            ahead-inpaint samples it so that it matches them.
        disturbance: what disturbs the task's object, one or several of none, push and belt.
        max_steps: length limit of an episode in control steps, one or several numbers; the task's own by default.
        baseline: label of the cell that all others are compared with; the first one by default.
        threads: threads of each worker's network, which may affect results by rounding, and of its simulators.
        workers: processes on this machine; by default as many as its cores allow, or one with a GPU.
        backend: local for this machine, ray for a Ray cluster.
        address: address of the Ray cluster; by default a Ray on this machine.
        out: the evaluation's directory; by default runs/evaluate/TASK-SAMPLERS-DIGEST. The digest depends on all other
            settings, so the same command continues its evaluation, and other commands use another directory.
        page: also write the report to this markdown file, with its pictures and HTML beside it.
        cells: settings that all cells share.
    """
    find_task(task)
    names = [name for text in words(samplers) for name in SETS.get(text, (text,))]
    if not names:
        raise ValueError(f"--samplers must name one or several samplers, not {samplers!r}")
    choices = tuple(read_sampler(name) for name in names)
    base = cells.checked(task=task, sampler=choices[0], out=out or Path(), threads=threads)
    weights = checkpoint_of(task, base.checkpoint)
    check_device(base.device)
    clocks = tuple(ClockChoice.parse(text) for text in clock)
    disturbances = tuple(disturbance_of(task, name) for name in disturbance)
    check_simulator(task)
    if address is not None and backend != "ray":
        raise ValueError("--address is for --backend ray")
    if out is None:
        worlds = ([one.identity for one in clocks], controller, disturbances)
        shared = (base.seed, base.envs, threads, base.device, base.engine, base.precision)
        out = default_out("evaluate", task, names, weights, {"settings": (worlds, execute, max_steps, *shared)})
        say(f"writing to {out}")
    base = replace(base, out=out)
    check_folder(out)
    asked = {"task": task, "seed": base.seed, "envs": base.envs, "threads": threads}
    check_continues(out, "evaluation.json", asked)
    if page is not None:
        check_file(page, "--page")
    with loading():
        from paradp.rollouts.evaluation.grid import Grid
    grid = Grid(base, choices, execute or (None,), clocks, controller, disturbances, max_steps or (None,))
    with naming_facts_of(task):
        comparison = _evaluate(grid, baseline, backend, workers or _workers(base.device, threads), address)
    _tell(comparison, _convention(base.checkpoint_path), [out / "report.md", *([page] if page else [])])


def _evaluate(grid: "Grid", baseline: str | None, backend: str, workers: int, address: str | None) -> "Comparison":
    from paradp.rollouts.evaluation.grid import evaluate

    cells = grid.cells()
    what, total = f"{grid.base.task} · {counted(len(cells), 'cell')}", len(cells) * grid.base.episodes
    with Phases() as phases:
        return evaluate(
            grid,
            baseline,
            lambda done: phases.report(what, done, total),
            _backend(backend, workers, address, cells.values()),
            lambda done, total: phases.report(ALONE, done, total),
        )


def _convention(checkpoint: Path) -> str:
    from paradp.checkpoints import read_info

    return read_info(checkpoint).spec.action_convention


def _workers(device: str, threads: int) -> int:
    return 1 if device.startswith("cuda") else max(1, cores() // threads)


def _backend(name: str, workers: int, address: str | None, cells: "Iterable[RolloutConfig]") -> "EpisodeBackend":
    from paradp.rollouts.episodes.backends import LocalProcesses, RayCluster

    if name == "ray":
        cluster = RayCluster(address)
        cluster.check(cells)
        return cluster
    return LocalProcesses(workers)


def _tell(comparison: "Comparison", action_convention: str, pages: list[Path]) -> None:
    from paradp.scripts.evaluation_report import evaluation_report
    from paradp.scripts.tables import evaluation_table

    console.print(evaluation_table(comparison))
    problem = find_task(comparison.runs[0].summary.task).task.film_problem
    if problem:
        say(f"no film strips: {problem}")
    with doing("drawing and filming"):
        report = evaluation_report(comparison, action_convention, strips=not problem)
    if report.verdict:
        console.print(report.verdict)
    for page in pages:
        say(f"report: {page}, {report.write(page)}")

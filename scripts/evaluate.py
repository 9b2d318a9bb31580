"""`paradp evaluate`: reward against latency, over a grid."""

from pathlib import Path
from typing import Annotated, Literal

import tyro

from paradp.checkpoints import read_info
from paradp.envs import find_task
from paradp.policy import EngineName, Precision
from paradp.rollouts import RolloutConfig
from paradp.rollouts.backends import Backend, Local, RayCluster
from paradp.rollouts.clocks import ClockChoice
from paradp.rollouts.comparison import Comparison
from paradp.rollouts.config import ControllerName, cores
from paradp.rollouts.evaluation import Grid
from paradp.rollouts.evaluation import evaluate as run
from paradp.sampler import SamplerChoice
from paradp.scripts.console import console, progress
from paradp.scripts.evaluation_report import evaluation_report
from paradp.scripts.paper_table import PAPER_SAMPLERS
from paradp.scripts.rollout import SAMPLER_HELP
from paradp.scripts.tables import evaluation_table

NONE = "none"
PAPER = "paper"


def evaluate(
    task: tyro.conf.Positional[str],
    samplers: Annotated[str, tyro.conf.arg(help=SAMPLER_HELP)] = "ddpm,auto,ddim-10",
    execute: tuple[int, ...] = (),
    clock: tuple[str, ...] = ("ideal",),
    controller: tuple[ControllerName, ...] = ("sync",),
    disturbance: tuple[str, ...] = (NONE,),
    max_steps: tuple[int, ...] = (),
    baseline: str | None = None,
    episodes: int = 200,
    seed: int = 100_000,
    envs: int = 20,
    threads: int = 1,
    workers: int | None = None,
    backend: Literal["local", "ray"] = "local",
    address: str | None = None,
    checkpoint: str | None = None,
    device: str = "cpu",
    engine: EngineName = "auto",
    precision: Precision = "fp32",
    out: Path = Path("runs/evaluation"),
    page: Path | None = None,
) -> None:
    """Run every combination of samplers, horizons, clocks, … on the same episodes and compare them with one of them.

    Success with intervals, paired losses, latencies, film strips and a plot of success against latency go to
    OUT/report.html (one file) and OUT/report.md, all measurements to OUT/cells.parquet, episodes.parquet and
    steps.parquet. When the same command is given again, what is finished is not run again; --episodes may grow.

        paradp evaluate square --samplers ddpm,auto,para-ddpm,ddim-10 --out runs/square
        paradp evaluate square --samplers auto --clock ideal fixed:200 fixed:740 --controller sync ahead --out runs/late
        paradp evaluate square --samplers ddpm,ddim-10 --disturbance none push --backend ray --address 10.0.0.1:6379
        paradp evaluate lift --samplers paper --out runs/lift-paper

    Args:
        task: the task's name; `paradp tasks` lists them.
        samplers: see above; with commas between them, each with its options behind colons. `paper` stands for those of
            ParaDiGMS' robotics table, which the report then holds, too.
        execute: actions of a chunk that are executed before the next, one number or several; the checkpoint's own by
            default.
        clock: what happens while the policy thinks, one or several of ideal (simulation waits), measured (time goes on as
            long as each plan takes here; such cells run one robot at a time, after all others), fixed:MS, and replay:FILE
            (a run's alone.parquet).
        controller: sync asks for a chunk when the last one is used up, ahead while there are actions left; ahead-blend
            blends each chunk with what is left of the last one, ahead-inpaint denoises it to agree with that.
        disturbance: what happens to the task's object meanwhile, one or several of none, push and belt.
        max_steps: control steps until an episode is given up, one number or several; the task's own by default.
        baseline: the cell that all are compared with, as it is called in the table; the first one by default.
        episodes: of each cell; episode i has seed SEED + i in all of them.
        seed: of the first episode.
        envs: environments planned together; part of what is run, not of who runs it.
        threads: of each worker's network; part of what is run as well.
        workers: processes on this machine; by default as many as its cores allow, or one where a GPU computes.
        backend: local runs on this machine, ray on a Ray cluster.
        address: of the Ray cluster; a Ray on this machine by default.
        checkpoint: a pretrained policy's name or a checkpoint's directory; the task's own pretrained policy by default.
        device: where the network computes: cpu or cuda.
        engine: what computes it; auto takes the fastest that there is for the device.
        precision: of its arithmetic.
        out: the evaluation's directory.
        page: a markdown file to write the report to as well, its pictures and HTML beside it.
    """
    find_task(task)
    names = [name for text in samplers.split(",") for name in (PAPER_SAMPLERS if text == PAPER else [text])]
    choices = tuple(SamplerChoice.parse(name) for name in names)
    base = RolloutConfig(
        task,
        choices[0],
        out,
        checkpoint=checkpoint,
        episodes=episodes,
        seed=seed,
        envs=envs,
        threads=threads,
        device=device,
        engine=engine,
        precision=precision,
    )
    grid = Grid(
        base,
        choices,
        execute or (None,),
        tuple(ClockChoice.parse(text) for text in clock),
        controller,
        tuple(None if name == NONE else name for name in disturbance),
        max_steps or (None,),
    )
    cells = grid.cells()
    with progress(f"{task} · {len(cells)} cells", len(cells) * episodes) as report:
        comparison = run(grid, baseline, report, _backend(backend, workers or _workers(device, threads), address, cells))
    convention = read_info(base.checkpoint_path).spec.action_convention
    _tell(comparison, convention, [out / "report.md", *([page] if page else [])])


def _workers(device: str, threads: int) -> int:
    return 1 if device.startswith("cuda") else max(1, cores() // threads)


def _backend(name: str, workers: int, address: str | None, cells: dict[str, RolloutConfig]) -> Backend:
    if name == "ray":
        cluster = RayCluster(address)
        cluster.check(cells.values())
        return cluster
    if address is not None:
        raise ValueError("--address is for --backend ray")
    return Local(workers)


def _tell(comparison: Comparison, action_convention: str, pages: list[Path]) -> None:
    console.print(evaluation_table(comparison))
    problem = find_task(comparison.runs[0].summary.task).task.render_problem
    if problem:
        console.print(f"no film strips: {problem}", markup=False)
    with console.status("drawing and filming"):
        report = evaluation_report(comparison, action_convention, strips=not problem)
    if report.verdict:
        console.print(report.verdict)
    for page in pages:
        console.print(f"report: {page}, {report.write(page)}")

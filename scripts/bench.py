"""`paradp bench`: what a plan takes, beside the usual loop and few-step samplers, on each engine."""

import json as json_format
from dataclasses import asdict
from pathlib import Path

import matplotlib
import torch
import tyro
from rich.table import Table

from paradp.checkpoints import load_policy
from paradp.envs import find_task
from paradp.scripts.console import console, progress
from paradp.scripts.planning_time import BenchRow, Floor, measure_floor, measure_plans
from paradp.scripts.report import markdown_table, write_report
from paradp.scripts.studies.observations import expert_histories

matplotlib.use("Agg")
import matplotlib.pyplot as plt

# Along the expert's episodes.
OBSERVATIONS, SEED = 64, 20_000


def bench(
    task: tyro.conf.Positional[str],
    checkpoint: str | None = None,
    device: str = "cpu",
    batch: tuple[int, ...] = (1,),
    repeats: int = 20,
    threads: int | None = None,
    json: Path | None = None,
    out: Path | None = None,
) -> None:
    """Measure the latency of a plan for every engine and sampler, in turns, beside diffusers' loop in eager PyTorch.

        paradp bench square
        paradp bench square --batch 1 4 16 --json bench.json --out docs/results

    Args:
        task: the task's name.
        checkpoint: a pretrained policy's name or a checkpoint's directory; the task's own pretrained policy by default.
        device: cpu or cuda.
        batch: how many environments are planned together, one or several numbers.
        repeats: how often each is measured; they take turns, so that a slow moment of the machine is everyone's.
        threads: of PyTorch and of the engines; as many as there are cores by default.
        json: a file for the rows: name, engine, precision, threads, batch, p50_ms, p95_ms, p99_ms, rounds, evaluations,
            network_share, law, error_median.
        out: a folder for a page and its picture, DEVICE.md.
    """
    find_task(task)
    if repeats < 2 or min(batch) < 1:
        raise ValueError("repeats must be at least 2 and every batch at least 1")
    if threads is not None:
        torch.set_num_threads(threads)
    policy = load_policy(checkpoint or task, "ddpm", device, engine="eager")
    conditions = policy.condition(expert_histories(policy, OBSERVATIONS, SEED))
    rows: list[BenchRow] = []
    for size in batch:
        with progress(f"bench {task}, batch {size}", repeats) as report:
            rows += measure_plans(policy, conditions, size, repeats, report)
    floor = measure_floor(policy, device)
    console.print(_table(rows))
    console.print(floor.describe())
    if json is not None:
        json.write_text(json_format.dumps([asdict(row) for row in rows], indent=2) + "\n")
    if out is not None:
        _write_page(task, device, rows, floor, repeats, out)
        console.print(f"{out}/{device}.md")


_HEADER = ["batch", "sampler", "engine", "p50 ms", "p95", "p99", "usual ÷ p50", "rounds", "evals", "network", "law", "error"]


def _cells(row: BenchRow, usual: BenchRow) -> list[str]:
    return [
        str(row.batch),
        row.name,
        row.engine if row.precision == "fp32" else f"{row.engine} {row.precision}",
        *(f"{ms:.1f}" for ms in (row.p50_ms, row.p95_ms, row.p99_ms)),
        f"{usual.p50_ms / row.p50_ms:.1f}",
        f"{row.rounds:.1f}",
        f"{row.evaluations:.0f}",
        f"{row.network_share:.0%}",
        row.law,
        "" if row.error_median is None else f"{row.error_median:.0e}",
    ]


def _all_cells(rows: list[BenchRow]) -> list[list[str]]:
    usual = {row.batch: row for row in rows if row.name == "usual"}
    return [_cells(row, usual[row.batch]) for row in rows]


def _table(rows: list[BenchRow]) -> Table:
    """What fits a terminal; the page and the JSON file have all of it."""
    table = Table(title=f"a plan, {rows[0].threads} threads")
    shown = [_HEADER.index(name) for name in ("batch", "sampler", "engine", "p50 ms", "p99", "usual ÷ p50", "law")]
    for i in shown:
        table.add_column(_HEADER[i], justify="left" if _HEADER[i] in ("sampler", "engine", "law") else "right")
    for cells in _all_cells(rows):
        table.add_row(*(cells[i] for i in shown))
    return table


def _write_page(task: str, device: str, rows: list[BenchRow], floor: Floor, repeats: int, out: Path) -> None:
    body = f"""
One plan of the shipped {task} policy, {rows[0].threads} threads, {repeats} measurements of each in turns, in one process.
`usual` is diffusers' `DDPMScheduler.step` around the network in eager PyTorch, fp32, as LeRobot and Diffusion Policy run it.
`law`: `exact` is that of sequential DDPM with 100 steps on that engine's network, `tolerance` is within one of it, `other`
is another sampler's. The error is the median over the measurements of the largest absolute difference of a chunk to the
sequential sampler of the same steps, engine and noise, normalised units.

{markdown_table(_HEADER, _all_cells(rows))}

{floor.describe()}

![latency of a plan]({device}.png)
"""
    write_report(out / f"{device}.md", f"{task} on {device}: the latency of a plan", body)
    _plot(rows, out / f"{device}.png")


def _plot(rows: list[BenchRow], path: Path) -> None:
    batches = sorted({row.batch for row in rows})
    figure, panels = plt.subplots(1, len(batches), figsize=(6.5 * len(batches), 7), layout="constrained", squeeze=False)
    colours = {"exact": "tab:green", "tolerance": "tab:orange", "other": "tab:grey"}
    for axes, size in zip(panels[0], batches, strict=True):
        shown = [row for row in rows if row.batch == size][::-1]
        labels = [f"{row.name} · {row.engine}{'' if row.precision == 'fp32' else ' ' + row.precision}" for row in shown]
        axes.barh(labels, [row.p50_ms for row in shown], color=[colours[row.law] for row in shown])
        axes.set(xscale="log", xlabel=f"ms a plan, median, batch {size}")
        axes.grid(alpha=0.3, axis="x")
    handles = [plt.Rectangle((0, 0), 1, 1, color=colour) for colour in colours.values()]
    figure.legend(handles, [f"law: {law}" for law in colours], loc="outside lower center", ncols=3)
    figure.savefig(path, dpi=110)
    plt.close(figure)

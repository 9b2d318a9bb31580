"""Effect of the window's width on rounds, evaluations and memory."""

import multiprocessing
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure

from paradp.checkpoints import load_policy
from paradp.policy.wording import counted
from paradp.sampler import NoisePath, Picard
from paradp.scripts.canvas import legend_below, panels, save
from paradp.scripts.console import each
from paradp.scripts.families import family_of
from paradp.scripts.report import markdown_table, write_report
from paradp.scripts.studies.bench import COST_HEADER, Bench, MeasuredSampler
from paradp.scripts.studies.context import SHIPPED, Context
from paradp.scripts.studies.published import Page
from paradp.scripts.studies.registry import drawing, study

WINDOWS = (5, 8, 10, 15, 20, 30, 50, 75, 100)
SAMPLERS = ("para-ddpm", "para-ddpm:split=linear", "speculative-ddpm")
BATCHES = (1, 20)


@study
def study_windows(context: Context) -> None:
    """Writes TASK-windows.md and its picture."""
    bench = Bench(load_policy(context.task, "ddpm"))
    measured: dict[str, list[MeasuredSampler]] = {sampler: [] for sampler in SAMPLERS}
    memory: dict[int, list[float]] = {batch: [] for batch in BATCHES}
    for window in each(f"{context.task}, windows", WINDOWS):
        for sampler in SAMPLERS:
            measured[sampler].append(bench.measure(f"{sampler}:window={window}"))
        for batch in BATCHES:
            memory[batch].append(_peak_memory(context.task, window, batch))
    rows = [
        [f"`{sampler}`", str(window), *one.cells()]
        for sampler in SAMPLERS
        for window, one in zip(WINDOWS, measured[sampler], strict=True)
    ]
    memory_rows = [[str(w), *(f"{memory[b][i]:.1f}" for b in BATCHES)] for i, w in enumerate(WINDOWS)]
    body = f"""
The {context.task} policy {SHIPPED}, {bench.describe()}

{markdown_table(["sampler", "window", *COST_HEADER], rows)}

Peak memory of a ParaDDPM solve in eager PyTorch on the CPU: the largest resident size of the process during the solve minus
the size before it, each in a new process. Almost all of it is activations of the network, for window × environments rows.

{markdown_table(["window", *(f"{counted(b, 'environment')}, MiB" for b in BATCHES)], memory_rows)}

![rounds, evaluations and memory against the window]({context.task}-windows.png)
"""
    page = context.out / f"{context.task}-windows.md"
    write_report(page, f"{context.task}: the width of the window", body)
    draw(page)


def _peak_memory(task: str, window: int, batch: int) -> float:
    """The memory added by a solve in MiB, measured in a new process, because a later solve would reuse freed memory."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_added_memory, (task, window, batch))


def _added_memory(task: str, window: int, batch: int) -> float:
    torch.set_num_threads(1)
    policy = load_policy(task, f"para-ddpm:window={window}", engine="eager")
    shape = (policy.spec.horizons.predict, policy.spec.action_size)
    noise = NoisePath.draw([torch.Generator().manual_seed(i) for i in range(batch)], policy.solver.table.steps, shape)
    condition = torch.zeros(batch, policy.spec.condition_size)
    # A solve with one row at a time first, so that one-time loading and compilation are not counted.
    Picard(policy.solver.table, window=1).solve(policy.network, condition[:1], noise[:1])
    # Resets the kernel's peak, which a new process inherits.
    Path("/proc/self/clear_refs").write_text("5")
    before = _memory("VmRSS")
    policy.solver.solve(policy.network, condition, noise)
    added = _memory("VmHWM") - before
    if added <= 0:
        raise RuntimeError("the kernel did not report the peak memory of this process")
    return added


def _memory(key: str) -> float:
    """A value from `/proc/self/status` in MiB, see proc(5): `VmRSS` is the resident size, `VmHWM` its peak."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(key))
    return int(line.split()[1]) / 1024


@drawing()
def draw(path: Path) -> Figure:
    """Draws the picture of a page from its tables."""
    page = Page(path)
    rows, memory = page.table("sampler", "window", *COST_HEADER), page.table("window", "1 environment, MiB")
    figure, (left, middle, right) = panels(3, 3.8)
    for sampler in dict.fromkeys(row["sampler"] for row in rows):
        of = [row for row in rows if row["sampler"] == sampler]
        family = family_of(sampler)
        style: dict[str, Any] = {
            "color": family.colour,
            "marker": family.marker,
            "ls": "--" if "linear" in sampler else "-",
            "label": sampler,
        }
        windows = [int(row["window"]) for row in of]
        left.plot(windows, [float(row["rounds a chunk"]) for row in of], **style)
        middle.plot(windows, [float(row["evaluations"]) for row in of], **style)
    windows = [int(row["window"]) for row in memory]
    for column, line in zip(list(memory[0])[1:], ("-", "--"), strict=True):
        label = column.removesuffix(", MiB")
        right.plot(windows, [float(row[column]) for row in memory], f"o{line}", color="0.3", label=label)
    left.set(ylabel="rounds a chunk, mean", title="rounds")
    middle.set(ylabel="evaluations a chunk, mean", title="evaluations of the network")
    right.set(ylabel="memory (MiB)", title="peak memory of a ParaDDPM solve")
    for axes in (left, middle, right):
        axes.set(xscale="log", xlabel="window (steps)", ylim=(0, None))
        axes.set_xticks((5, 10, 20, 50, 100), ("5", "10", "20", "50", "100"))
        axes.minorticks_off()
    right.legend()
    legend_below(figure)
    save(figure, path.with_suffix(".png"))
    return figure

"""Compares ParaDDPM with sequential DDPM on a trained policy and the same noise: rounds, error, time."""

from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure

from paradp.checkpoints import load_policy
from paradp.policy.wording import counted
from paradp.sampler import Picard, Sequential
from paradp.scripts.canvas import panels, save
from paradp.scripts.console import each
from paradp.scripts.families import COLOURS
from paradp.scripts.report import markdown_table, write_report
from paradp.scripts.studies.bench import COST_HEADER, Bench
from paradp.scripts.studies.context import SHIPPED, Context
from paradp.scripts.studies.published import Page
from paradp.scripts.studies.registry import drawing, study
from paradp.scripts.studies.turns import Ratio, time_in_turns

TOLERANCES = (0.0, 1e-3, 1e-2, 0.1, 0.3, 1.0)
WINDOW = 20


@study
def study_agreement(context: Context, observations: int = 64, seed: int = 20_000, repeats: int = 15) -> None:
    """Writes OUT/TASK-agreement.md and its picture."""
    task, out = context.task, context.out
    bench = Bench(load_policy(task, "ddpm", engine="eager"), observations, seed)
    policy, table = bench.policy, bench.policy.solver.table
    measured = {
        tolerance: bench.measure(f"para-ddpm:window={WINDOW}:tolerance={tolerance}")
        for tolerance in each(f"{task}, tolerances", TOLERANCES)
    }
    neighbours = _largest_change_of_the_others(bench)
    policies = [policy.with_solver(solver) for solver in (Sequential(table), Picard(table, WINDOW, 0.1))]
    times = time_in_turns(policies, bench.histories, repeats)
    (sequential_ms, parallel_ms), ratio = np.median(times, axis=1), Ratio.of(*times)

    rows = [[f"{tolerance:g}", *one.cells(), f"{np.max(one.error):.1e}"] for tolerance, one in measured.items()]  # type: ignore[arg-type]
    header = ["tolerance τ", *COST_HEADER, "largest"]
    body = f"""
ParaDDPM (unit split, window {WINDOW}) on the {task} policy {SHIPPED}, {table.steps} steps,
{observations} observations of the scripted expert's episodes (seeds from {seed}),
each with its own noise path. The error of a chunk is the largest absolute
difference to the sequential sample on the same noise, over the whole horizon, in normalised units.

{markdown_table(header, rows)}

Replacing one environment's observation changes the samples of the others by at most {neighbours:.1e}. It can differ
from 0, because the rounding of a matrix product depends on its number of rows; with an element-wise denoiser it is exactly
0, which the tests check.

One plan at batch 1, PyTorch eager, {counted(torch.get_num_threads(), "thread")}, {repeats} interleaved repeats: sequential
{sequential_ms:.0f} ms, ParaDDPM {parallel_ms:.0f} ms (medians); sequential takes **{ratio.median:.2f}** times as long
(middle half of the repeats {ratio.low:.2f}–{ratio.high:.2f}).

![error and rounds against tolerance]({task}-agreement.png)
"""
    page = out / f"{task}-agreement.md"
    write_report(page, f"{task}: ParaDDPM against sequential DDPM on the same noise", body)
    draw(page)


def _largest_change_of_the_others(bench: Bench) -> float:
    policy = bench.policy
    solver = Picard(policy.solver.table, WINDOW, 0.0)
    condition, few = bench.condition[:8], bench.noise(policy.solver.table.steps)[:8]
    before = solver.solve(policy.engine, condition, few).sample
    replaced = condition.clone()
    replaced[3] = bench.condition[20]
    after = solver.solve(policy.engine, replaced, few).sample
    others = torch.arange(8) != 3
    return float((after - before)[others].abs().max())


@drawing()
def draw(path: Path) -> Figure:
    """Draws the picture of a page from its tables."""
    page = Page(path)
    rows = page.table("tolerance τ", *COST_HEADER, "largest")
    count, steps = page.number(r"(\d+) observations"), page.number(r"(\d+) steps")
    figure, (left, right) = panels(2, 4.0)
    places = range(len(rows))
    median, high, largest, rounds, most = (
        [float(row[name]) for row in rows]
        for name in ("error, median", "99th percentile", "largest", "rounds a chunk", "most")
    )
    left.vlines(places, median, largest, color="0.7", lw=1)
    left.plot(places, median, "o", ms=7, color=COLOURS[0], label="median")
    left.plot(places, high, "^", ms=7, color=COLOURS[1], label="99th percentile")
    left.plot(places, largest, "_", ms=12, mew=2, color="black", label=f"largest of {count:.0f} chunks")
    left.axhline(2, color="0.4", lw=1, ls=":")
    left.annotate(
        "largest possible: −1 instead of 1", (0, 2), (0, -3), textcoords="offset points", va="top", fontsize=8, color="0.4"
    )
    left.set(yscale="log", ylim=(None, 5), title="difference to the sequential sample on the same noise")
    left.set(ylabel="error of a chunk (normalised units)")
    right.plot(places, rounds, "o", ms=7, color=COLOURS[0], label="mean")
    right.plot(places, most, "_", ms=12, mew=2, color="black", label="most of any chunk")
    right.axhline(steps, color="0.4", lw=1, ls=":")
    right.annotate(f"sequential: {steps:.0f}", (len(rows) - 1, steps), (0, -3), textcoords="offset points", ha="right",
                   va="top", fontsize=8, color="0.4")  # fmt: skip
    right.set(ylabel="rounds a chunk", ylim=(0, 1.05 * steps), title="rounds")
    for axes in (left, right):
        axes.set_xticks(places, [row["tolerance τ"] for row in rows])
        axes.set_xlabel("tolerance τ (0: until nothing changes)")
    left.legend(loc="lower right")
    right.legend(loc="center right")
    save(figure, path.with_suffix(".png"))
    return figure

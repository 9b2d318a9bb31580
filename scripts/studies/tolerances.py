"""Effect of the tolerance on rounds, evaluations, error and success; and the error if a budget ends the rounds."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from paradp.checkpoints import find_checkpoint, load_policy, read_info
from paradp.scripts.canvas import legend_below, panels, save
from paradp.scripts.console import each
from paradp.scripts.families import COLOURS
from paradp.scripts.report import markdown_table, write_report
from paradp.scripts.studies.bench import COST_HEADER, Bench, MeasuredSampler
from paradp.scripts.studies.closed_loop import LOOP_HEADER, ClosedLoops
from paradp.scripts.studies.context import SHIPPED, Context
from paradp.scripts.studies.published import Page, Row
from paradp.scripts.studies.registry import drawing, study

TOLERANCES = ("0.001", "0.01", "0.1", "0.3", "1.0")
BUDGETS = (2, 3, 4, 6, 8, 10, 12, 15, 20, 25, 30)
SPLITS = ("unit", "linear")


@study
def study_tolerances(context: Context) -> None:
    """Writes TASK-tolerances.md and its picture."""
    bench = Bench(load_policy(context.task, "ddpm"))
    loops = ClosedLoops(context.runs, bench.policy, read_info(find_checkpoint(context.task)).model_sha256)
    tolerances, budgets = {}, {}
    for split in each(f"{context.task}, splits", SPLITS):
        tolerances[split] = [bench.measure(f"para-ddpm:split={split}:tolerance={tolerance}") for tolerance in TOLERANCES]
        budgets[split] = [bench.measure(f"para-ddpm:split={split}:max-rounds={budget}") for budget in BUDGETS]
    rows = []
    for split in SPLITS:
        for tolerance, measured in zip(TOLERANCES, tolerances[split], strict=True):
            run = [""] * 4 if split == "linear" else loops.cells(_named(tolerance))
            rows.append([f"{split}, {tolerance}", *measured.cells(), *run])
    body = f"""
ParaDDPM, window 20, on the {context.task} policy {SHIPPED}, {bench.describe()}

{markdown_table(["split, tolerance τ", *COST_HEADER, *LOOP_HEADER], rows)}

The right columns are for closed-loop episodes with the unit split (`paradp rollout {context.task} --sampler
para-ddpm:tolerance=… --seed 100000 --envs 20`), on the seeds that the run shares with that of sequential DDPM.

## Error against a budget of rounds

`max-rounds` ends a solve early, here at τ = 0.1. An unfinished sample is completed from its last converged state, with the
prediction there held constant, and is marked as not converged.

{markdown_table(["rounds", *(f"{split}: {what}" for split in SPLITS for what in _BUDGET_COLUMNS)], _budget_rows(budgets))}

![error and rounds against the tolerance; error against the budget]({context.task}-tolerances.png)
"""
    page = context.out / f"{context.task}-tolerances.md"
    write_report(page, f"{context.task}: tolerance and budget of ParaDDPM", body)
    draw(page)


_BUDGET_COLUMNS = ("converged", "error, median", "99th percentile", "evaluations")


def _named(tolerance: str) -> str:
    """The sampler's name in rollouts, where the default tolerance, 0.1, is left out."""
    return "para-ddpm" if tolerance == "0.1" else f"para-ddpm:tolerance={tolerance}"


def _budget_rows(budgets: dict[str, list[MeasuredSampler]]) -> list[list[str]]:
    return [
        [str(budget), *(cell for split in SPLITS for cell in _budget_cells(budgets[split][i]))]
        for i, budget in enumerate(BUDGETS)
    ]


def _budget_cells(measured: MeasuredSampler) -> list[str]:
    assert measured.error is not None
    median, high = np.percentile(measured.error, [50, 99])
    return [f"{measured.converged:.0%}", f"{median:.1e}", f"{high:.1e}", f"{measured.evaluations.mean():.0f}"]


@drawing()
def draw(path: Path) -> Figure:
    """Draws the picture of a page from its tables."""
    page = Page(path)
    by_tolerance, by_budget = page.table("split, tolerance τ", *COST_HEADER), page.table("rounds", "unit: converged")
    figure, (left, middle, right) = panels(3, 3.9)
    for split, colour in zip(SPLITS, COLOURS, strict=False):
        rows = [row for row in by_tolerance if row["split, tolerance τ"].startswith(f"{split}, ")]
        taus = [float(row["split, tolerance τ"].split(", ")[1]) for row in rows]
        _error_band(left, taus, rows, "error, median", "99th percentile", colour)
        middle.plot(taus, [float(row["rounds a chunk"]) for row in rows], "o-", color=colour)
        rounds = [float(row["rounds"]) for row in by_budget]
        _error_band(right, rounds, by_budget, f"{split}: error, median", f"{split}: 99th percentile", colour)
    left.set(xscale="log", yscale="log", ylabel="error of a chunk (normalised units)", title="error")
    middle.set(xscale="log", ylabel="rounds a chunk, mean", ylim=(0, None), title="rounds")
    right.set(yscale="log", xlim=(0, None), xlabel="budget of rounds (τ = 0.1)", title="error if a budget ends the rounds")
    for axes in (left, middle):
        axes.set_xlabel("tolerance τ")
        axes.set_xticks([float(tolerance) for tolerance in TOLERANCES], TOLERANCES)
        axes.minorticks_off()
    for axes in (left, right):
        axes.set_ylim(1e-6, 5)
    lines = [Line2D([], [], marker="o", color=c, label=f"{s} split") for s, c in zip(SPLITS, COLOURS, strict=False)]
    bands = [Line2D([], [], color="0.4", ls=ls, label=of) for ls, of in (("-", "median"), ("--", "99th percentile"))]
    legend_below(figure, columns=4, handles=[*lines, *bands])
    save(figure, path.with_suffix(".png"))
    return figure


def _error_band(axes: Axes, x: Sequence[float], rows: Sequence[Row], median: str, high: str, colour: str) -> None:
    middle, top = ([float(row[name]) for row in rows] for name in (median, high))
    axes.plot(x, middle, "o-", color=colour)
    axes.plot(x, top, "--", color=colour, lw=1)
    axes.fill_between(x, middle, top, alpha=0.12, color=colour, lw=0)

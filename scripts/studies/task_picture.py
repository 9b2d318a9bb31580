"""Draws the picture of the page that compares all tasks."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from paradp.scripts.canvas import legend_below, panels, save
from paradp.scripts.families import COLOURS, family_of
from paradp.scripts.studies.published import Page, Row, estimate
from paradp.scripts.studies.task_figures import EXACT, FEW, SPEED

MARKERS = "os^DvP*X<>"


def draw_tasks(path: Path) -> Figure:
    """Draws it from the page's tables, with the first row of each task, its shipped policy."""
    page = Page(path)
    rows = {row["task"]: row for row in reversed(page.table("task", "training", "rejections (95 %)"))}
    speed = page.table(*SPEED)
    figure, (by_window, by_spread, by_size, speeds) = panels(2, 8.4, rows=2)
    for i, task in enumerate(row["task"] for row in speed):
        style: dict[str, Any] = {"color": COLOURS[i % len(COLOURS)], "marker": MARKERS[i % len(MARKERS)]}
        _draw_task(task, rows[task], style, by_window, by_spread, by_size)
    by_window.set(
        xscale="log", xlabel="window (steps)", ylabel="rounds a plan", ylim=(0, None), title="exact sampler: rounds"
    )
    windows = _windows(rows[speed[0]["task"]])
    by_window.set_xticks(windows, [str(window) for window in windows])
    by_window.minorticks_off()
    by_spread.set(xlabel="spread of plans for one observation (normalised units)", xlim=(0, None))
    by_size.set(xlabel="values in a chunk", xlim=(0, None))
    for axis in (by_spread, by_size):
        axis.set(ylabel="rejections a plan, 95 %", ylim=(0, None), title="exact sampler: rejections")
    _draw_speeds(speeds, speed)
    legend_below(figure, columns=min(len(speed), 5))
    save(figure, path.with_suffix(".png"))
    return figure


def _windows(row: Row) -> list[int]:
    return [int(column.removeprefix("window ")) for column in row if column.startswith("window ")]


def _draw_task(task: str, row: Row, style: dict[str, Any], by_window: Axes, by_spread: Axes, by_size: Axes) -> None:
    windows = _windows(row)
    by_window.plot(windows, [float(row[f"window {window}"]) for window in windows], label=task, **style)
    rejections, undecided = estimate(row["rejections (95 %)"]), estimate(row["undecided (95 %)"])
    by_spread.plot(undecided.ci95, [rejections.mean] * 2, color=style["color"], lw=1.2)
    for axis, x in ((by_spread, undecided.mean), (by_size, float(row["values in a chunk"]))):
        axis.plot([x] * 2, rejections.ci95, color=style["color"], lw=1.2)
        axis.plot(x, rejections.mean, ms=7, **style)


def _draw_speeds(axis: Axes, speed: Sequence[Row]) -> None:
    """Draws how many times as fast as sequential DDPM the samplers are, task by task."""
    samplers = ("para-ddpm", EXACT, "auto", FEW)
    for i, sampler in enumerate(samplers):
        colour, marker = family_of(sampler).colour, family_of(sampler).marker
        ratios = [estimate(row[sampler]) for row in speed]
        x = [k + 0.18 * (i - 1.5) for k in range(len(speed))]
        axis.vlines(x, *zip(*(ratio.ci95 for ratio in ratios), strict=True), color=colour, lw=2, alpha=0.5)
        axis.plot(x, [ratio.mean for ratio in ratios], marker, color=colour, ms=6, label=sampler)
    axis.axhline(1, color="0.4", lw=1, ls=":")
    axis.set_xticks(range(len(speed)), [row["task"] for row in speed], rotation=25, ha="right")
    axis.set(yscale="log", ylabel="times as fast, median and middle half", title="speed of a plan, against DDPM")
    axis.set_yticks([1, 2, 5, 10], ["1", "2", "5", "10"])
    axis.minorticks_off()
    axis.set_ylim(top=3 * axis.get_ylim()[1])  # room for the legend
    axis.legend(loc="upper left", ncols=2, fontsize=8)

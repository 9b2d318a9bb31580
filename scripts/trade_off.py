"""The plot of success against latency, for choosing a sampler."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullLocator, StrMethodFormatter
from matplotlib.transforms import Bbox

from paradp.rollouts.statistics import Estimate
from paradp.scripts.canvas import SMALL, blank, legend_below, save
from paradp.scripts.families import FAMILIES, OTHER, Family, family_of, wrapped
from paradp.scripts.label_placement import Named, place_names

# Characters per line of a name.
WIDTH = 26
# Up to this number of runs, all are named beside their points if there is space; with more, only those of the front.
NAMED = 16
# Measures of which less is better → name on the axis, which is reversed, so that up is better.
LESS = ("energy distance to DDPM", "jerk ÷ DDPM's")
GREY = "#666666"


@dataclass(frozen=True)
class TradeOffPoint:
    """A sampler and its measurements.

    Attributes:
        label: the sampler as typed, and after a comma further settings of its run.
        worth: measure → mean with its interval: `success`, before it `reward` where the reward is graded.
        p50, p95, p99: latency of a plan for one robot, ms.
        world: the conditions, such as a disturbance; only runs under the same conditions are compared.
    """

    label: str
    worth: Mapping[str, Estimate]
    p50: float
    p95: float
    p99: float
    world: str = ""

    @property
    def family(self) -> Family:
        """The sampler's family, for colour and marker."""
        return family_of(self.label)


@dataclass(frozen=True)
class Period:
    """A period that a plan may have to fit into, in ms."""

    name: str
    ms: float


def plot_trade_off(runs: Sequence[TradeOffPoint], title: str, periods: Sequence[Period], path: Path | BinaryIO) -> Figure:
    """Plots on the left the worth against the latency, with one panel per measure, and on the right the latencies, sorted.

    Returns the figure, closed.
    """
    numbers = {run.label: str(i) for i, run in enumerate(runs, 1)}
    rows = [(run, wrapped(f"{numbers[run.label]}. {run.label}", 30)) for run in sorted(runs, key=lambda run: run.p50)]
    lines = sum(1 + name.count("\n") for _, name in rows)
    measures = list(runs[0].worth)
    panels, height = _heights(len(measures), lines)
    figure = blank(height)
    grid = figure.add_gridspec(len(panels), 2, width_ratios=(1.45, 1), height_ratios=panels)
    worths = {measure: figure.add_subplot(grid[i, 0]) for i, measure in enumerate(measures)}
    for measure, axes in worths.items():
        _plot_worth(axes, runs, measure)
    worths[measures[0]].set_title(title)
    latencies = figure.add_subplot(grid[:, 1])
    _plot_latencies(latencies, rows)
    limits = _limits(runs, periods)
    for axes in (*worths.values(), latencies):
        _time_axis(axes, limits, periods)
    worths[measures[-1]].set_xlabel("latency of a plan, one robot (ms): marker p50, line to p99")
    for period in periods:
        _name_period(worths[measures[0]], period)
    legend_below(figure, columns=6, handles=_legend(runs), columnspacing=1.2)
    figure.canvas.draw()  # names are placed in the final layout
    for measure, axes in worths.items():
        place_names(axes, _names(runs, measure, numbers), _lines(axes, runs, measure, periods), SMALL)
    save(figure, path)
    return figure


def pareto_front(runs: Sequence[TradeOffPoint], measure: str) -> list[TradeOffPoint]:
    """The Pareto front of each world, by p50 and mean: runs for which no other is both as fast and better; fastest first."""
    return [run for world in dict.fromkeys(run.world for run in runs) for run in _front(runs, measure, world)]


def _front(runs: Sequence[TradeOffPoint], measure: str, world: str) -> list[TradeOffPoint]:
    front: list[TradeOffPoint] = []
    sign = -1 if measure in LESS else 1
    there = [run for run in runs if run.world == world]
    for run in sorted(there, key=lambda run: (run.p50, -sign * run.worth[measure].mean)):
        if not front or sign * run.worth[measure].mean > sign * front[-1].worth[measure].mean:
            front.append(run)
    return front


def _heights(measures: int, lines: int) -> tuple[list[float], float]:
    """Heights of the panels on the left, and of the figure, in inches; with many rows there is empty space on the left."""
    panels = [4.4 if measures == 1 else 3.2] * measures
    rows = 1.5 + 0.22 * lines
    gap = rows - sum(panels)
    return (panels if gap < 1 else [*panels, gap]), max(rows, sum(panels)) + 0.6


def _plot_worth(axes: Axes, runs: Sequence[TradeOffPoint], measure: str) -> None:
    slowest = max(run.p99 for run in runs)
    for world in {run.world for run in runs}:
        best = _front(runs, measure, world)
        means = [run.worth[measure].mean for run in best]
        # After its last point the front continues horizontally: slower samplers were not better.
        reached, means = [*(run.p50 for run in best), slowest], [*means, means[-1]]
        axes.step(reached, means, where="post", color="#999999", lw=4, alpha=0.35, clip_on=False)
    front = pareto_front(runs, measure)
    for run in runs:
        mean, (low, high) = run.worth[measure].mean, run.worth[measure].ci95
        colour, filled = run.family.colour, run in front
        style: dict[str, Any] = {"color": colour, "clip_on": False, "alpha": 1.0 if filled else 0.45}
        axes.plot([run.p50, run.p50], [low, high], lw=1.4, **style)
        axes.plot([run.p50, run.p99], [mean, mean], lw=0.9, **style)
        fill = colour if filled else "white"
        axes.plot(run.p50, mean, run.family.marker, ms=7, mfc=fill, zorder=4, **{**style, "alpha": 1.0})
    lowest = min(run.worth[measure].ci95[0] for run in runs)
    highest = max(run.worth[measure].ci95[1] for run in runs)
    # A rate ends at 1; a reward with another scale at its largest value.
    top = 1.0 if highest <= 1.0 else 1.05 * highest
    # At least a tenth of the scale, so that insignificant differences do not look large.
    bottom = min(math.floor(20 * (lowest - 0.03)) / 20, top - 0.1)
    limits = max(bottom, 0.0) if lowest >= 0 else bottom, top
    axes.set_ylim(limits if measure not in LESS else _downwards(runs, measure))
    axes.set_ylabel(f"{measure}, 95 % interval")
    axes.grid(alpha=0.25)


def _downwards(runs: Sequence[TradeOffPoint], measure: str) -> tuple[float, float]:
    """The limits of a reversed axis."""
    ends = [end for run in runs for end in run.worth[measure].ci95]
    margin = 0.05 * (max(ends) - min(ends))
    return max(ends) + margin, min(ends) - margin


def _plot_latencies(axes: Axes, rows: Sequence[tuple[TradeOffPoint, str]]) -> None:
    for y, (run, _) in enumerate(rows):
        colour = run.family.colour
        axes.plot([run.p50, run.p99], [y, y], lw=1, color=colour)
        axes.plot([run.p50, run.p95], [y, y], lw=5, color=colour, alpha=0.35, solid_capstyle="butt")
        axes.plot(run.p50, y, run.family.marker, color=colour, ms=6)
        axes.annotate(
            f"{run.p50:.3g} / {run.p99:.3g}", (run.p99, y), (4, 0), textcoords="offset points", va="center", fontsize=SMALL,
            color=GREY, bbox={"color": "white", "pad": 0.5},
        )  # fmt: skip
    axes.set_yticks(range(len(rows)), [name for _, name in rows], fontsize=SMALL)
    for tick, (run, _) in zip(axes.get_yticklabels(), rows, strict=True):
        tick.set_color(run.family.colour)
    axes.set(ylim=(len(rows) - 0.4, -0.6), title="fastest first: p50 / p99 (ms)")
    axes.set_xlabel("a plan (ms): marker p50, bar to p95, line to p99")
    axes.grid(alpha=0.25, axis="x")


def _limits(runs: Sequence[TradeOffPoint], periods: Sequence[Period]) -> tuple[float, float]:
    """The limits of the time axis: all latencies, and the periods that are not far from them."""
    low, high = min(run.p50 for run in runs), max(run.p99 for run in runs)
    for period in periods:
        if low / 12 < period.ms < 12 * high:
            low, high = min(low, period.ms), max(high, period.ms)
    return 0.75 * low, 2.2 * high


def _time_axis(axes: Axes, limits: tuple[float, float], periods: Sequence[Period]) -> None:
    axes.set(xscale="log", xlim=limits)
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if limits[1] < 100 * limits[0] else (1.0, 3.0)))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.xaxis.set_minor_locator(NullLocator())
    for period in periods:
        axes.axvline(period.ms, color="#333333", lw=1, ls=(0, (4, 3)), zorder=0)


def _name_period(axes: Axes, period: Period) -> None:
    if axes.get_xlim()[0] < period.ms < axes.get_xlim()[1]:
        axes.annotate(
            period.name, (period.ms, 0), (3, 4), xycoords=("data", "axes fraction"), textcoords="offset points",
            rotation=90, fontsize=SMALL, color="#333333", va="bottom",
        )  # fmt: skip


def _names(runs: Sequence[TradeOffPoint], measure: str, numbers: Mapping[str, str]) -> list[Named]:
    """Places the names, those of the front first; points without space get the number of their row."""
    front = pareto_front(runs, measure)
    named = []
    for run in [*front, *(run for run in runs if run not in front)]:
        number = numbers[run.label]
        text = wrapped(run.label, WIDTH) if run in front or len(runs) <= NAMED else number
        named.append(Named(run.p50, run.worth[measure].mean, text, number, run.family.colour))
    return named


def _lines(axes: Axes, runs: Sequence[TradeOffPoint], measure: str, periods: Sequence[Period]) -> list[Bbox]:
    """Boxes around all lines, which names should not cover."""
    upright = [Bbox.from_extents(run.p50, run.worth[measure].ci95[0], run.p50, run.worth[measure].ci95[1]) for run in runs]
    lying = [Bbox.from_extents(run.p50, run.worth[measure].mean, run.p99, run.worth[measure].mean) for run in runs]
    ends = [Bbox.from_extents(period.ms, axes.get_ylim()[0], period.ms, axes.get_ylim()[1]) for period in periods]
    return [*upright, *lying, *ends]


def _legend(runs: Sequence[TradeOffPoint]) -> list[Line2D]:
    present = [family for family in (*FAMILIES, OTHER) if any(run.family is family for run in runs)]
    families = [Line2D([], [], marker=f.marker, color=f.colour, ls="", label=f.name) for f in present]
    front = Line2D([], [], color="#999999", lw=4, alpha=0.35, label="Pareto front (filled)")
    return [*families, front]

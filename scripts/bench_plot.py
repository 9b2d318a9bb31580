"""The picture of a benchmark: the latency of a plan, by sampler and engine."""

import math
from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullLocator, StrMethodFormatter

from paradp.scripts.canvas import SMALL, WIDTH, legend_below, panels, save
from paradp.scripts.contenders import BenchRow

# Distribution of the samples → colour (Okabe & Ito's), marker and text.
LOOKS = {
    "exact": ("#009E73", "o", "DDPM's distribution, exactly"),
    "tolerance": ("#0072B2", "^", "DDPM's within a tolerance"),
    "other": ("#D55E00", "s", "another sampler's"),
}


# Number of panels in a row.
COLUMNS = 3


def plot_bench(rows: Sequence[BenchRow], path: Path) -> Figure:
    """Plots a panel for each network and batch, with a row for each sampler: a marker at p50, and a line to p99.

    Rows are grouped by engine, the fastest of the first panel on top. Returns the figure, closed.
    """
    cases = sorted({_case(row) for row in rows})
    order = _ordered([row for row in rows if _case(row) == cases[0]])
    columns = min(len(cases), COLUMNS)
    lines = math.ceil(len(cases) / columns)
    width, height = min(WIDTH, 4.4 + 3.2 * columns), 1.2 + 0.19 * max(y for y, _ in order)
    figure, axes_of = panels(columns, lines * height, rows=lines, width=width, sharey=True)
    sizes = {parameters for parameters, _ in cases}
    for axes in axes_of[len(cases) :]:
        axes.set_axis_off()
    for axes, (parameters, batch) in zip(axes_of, cases, strict=False):
        _plot_case(axes, {_key(row): row for row in rows if _case(row) == (parameters, batch)}, order)
        robots = "one robot" if batch == 1 else f"{batch} robots in a batch"
        axes.set_title(f"{parameters / 1e6:.1f} M parameters\n{robots}" if len(sizes) > 1 else robots)
        axes.set_xlabel("a plan (ms): p50, line to p99")
    first = axes_of[0]
    first.set_yticks([y for y, _ in order], [name for _, (name, _) in order], fontsize=SMALL)
    first.set_ylim(max(y for y, _ in order) + 0.8, -1.8)
    shown = {row.law for row in rows}
    handles = [
        Line2D([], [], ls="", color=colour, marker=marker, label=what)
        for law, (colour, marker, what) in LOOKS.items()
        if law in shown
    ]
    legend_below(figure, handles=handles)
    save(figure, path)
    return figure


def _case(row: BenchRow) -> tuple[int, int]:
    return row.parameters, row.batch


def _key(row: BenchRow) -> tuple[str, str]:
    return row.name, f"{row.engine}, {row.precision}"


def _ordered(rows: Sequence[BenchRow]) -> list[tuple[int, tuple[str, str]]]:
    """Height and key of each row: grouped by engine in the order of measurement, the fastest first, with gaps in between."""
    placed: list[tuple[int, tuple[str, str]]] = []
    y = 0
    for engine in dict.fromkeys(_key(row)[1] for row in rows):
        y += 2 * bool(placed)
        for row in sorted((row for row in rows if _key(row)[1] == engine), key=lambda row: row.p50_ms):
            placed.append((y, _key(row)))
            y += 1
    return placed


def _plot_case(axes: Axes, rows: dict[tuple[str, str], BenchRow], order: Sequence[tuple[int, tuple[str, str]]]) -> None:
    engine = ""
    for y, key in order:
        if key[1] != engine:
            engine = key[1]
            axes.annotate(
                engine, (0, y - 1), (4, 0), xycoords=("axes fraction", "data"), textcoords="offset points", va="center",
                fontsize=SMALL, fontweight="bold", color="#444444",
            )  # fmt: skip
        if key not in rows:
            continue
        row = rows[key]
        colour, marker, _ = LOOKS[row.law]
        axes.plot([row.p50_ms, row.p99_ms], [y, y], lw=1.2, color=colour)
        axes.plot(row.p50_ms, y, marker, color=colour, ms=6)
        value = f"{row.p50_ms:.3g}" if row.p50_ms < 1000 else f"{row.p50_ms:.0f}"
        axes.annotate(
            value, (row.p99_ms, y), (5, 0), textcoords="offset points", va="center", fontsize=SMALL, color="#444444"
        )
    low, high = min(row.p50_ms for row in rows.values()), max(row.p99_ms for row in rows.values())
    axes.set(xscale="log", xlim=(0.7 * low, 3 * high))
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0,) if high > 30 * low else (1.0, 3.0)))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.tick_params(axis="y", length=0, labelsize=SMALL)
    axes.grid(visible=False, axis="y")

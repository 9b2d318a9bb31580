"""Pictures of runs side by side."""

import re
from collections import defaultdict
from pathlib import Path
from typing import BinaryIO

import matplotlib
import numpy as np

from paradp.rollouts.comparison import Compared, Comparison
from paradp.rollouts.statistics import Estimate

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, NullLocator, StrMethodFormatter

MARKERS = "osD^vP*X<>p"


def plot_reward_against_latency(comparison: Comparison, path: Path | BinaryIO) -> None:
    """Success against the latency of a plan, and the distribution of these latencies; one robot at a time.

    Where the reward is graded, it takes the place of success, which is shown hollow below it.
    """
    runs = comparison.runs
    figure, (left, right) = plt.subplots(1, 2, figsize=(12, max(4.0, 1.5 + 0.34 * len(runs))), layout="constrained")
    colours = plt.get_cmap("tab20")(np.linspace(0, 1, 20)) if len(runs) > 10 else plt.get_cmap("tab10")(range(10))
    for i, run in enumerate(runs):
        latency, colour = run.summary.latency_ms_batch1.replan, colours[i % len(colours)]
        worth, marker = run.summary.reward if comparison.graded else run.summary.success, MARKERS[i % len(MARKERS)]
        _point(left, latency.p50, worth, fmt=marker, color=colour)
        left.plot([latency.p50, latency.p99], [worth.mean] * 2, color=colour, lw=1, alpha=0.6)
        if comparison.graded:
            _point(left, latency.p50, run.summary.success, fmt=marker, color=colour, mfc="none", elinewidth=0.6)
        plans = 1000 * run.alone["replan_seconds"].dropna()
        style = {"orientation": "horizontal", "widths": 0.6, "patch_artist": True, "showfliers": False}
        box = right.boxplot(plans, positions=[-i], whis=(1, 99), **style)  # type: ignore[arg-type]
        box["boxes"][0].set_facecolor(colour)
        right.plot(latency.p50, -i, marker, color="k", ms=4, zorder=3)
    first = runs[0].summary
    lows = [run.summary.success.ci95[0] for run in runs]
    left.set(
        xscale="log",
        xlabel="latency of a plan, p50 and line to p99 (ms)",
        ylabel="reward (hollow: success), 95 % interval" if comparison.graded else "success, 95 % interval",
        ylim=(max(0.0, min(lows) - 0.08), 1.03),
        title=f"{first.task}, {first.episodes} episodes each",
    )
    right.set(xscale="log", xlabel="latency of a plan: quartiles, 1 to 99 % (ms)", title="one robot at a time")
    right.set_yticks([-i for i in range(len(runs))], [run.label for run in runs])
    for axes in (left, right):
        axes.grid(alpha=0.3)
        axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axes.xaxis.set_minor_locator(NullLocator())
    figure.savefig(path, dpi=120)
    plt.close(figure)


def plot_clocks(comparison: Comparison, path: Path | BinaryIO) -> bool:
    """Success against the latency that the clock gave every plan; `False` if there were not several such clocks."""
    lines: dict[str, list[tuple[float, Compared]]] = defaultdict(list)
    for run in comparison.runs:
        fixed = re.fullmatch(r"ideal|fixed:(.+)", run.summary.clock)
        if fixed:
            lines[run.label.replace(f", {run.summary.clock}", "")].append((float(fixed[1] or 0), run))
    if max((len(line) for line in lines.values()), default=0) < 2:
        return False
    worlds = sorted({line[0][1].summary.disturbance or "undisturbed" for line in lines.values()}, reverse=True)
    figure, panels = plt.subplots(
        1, len(worlds), figsize=(1.5 + 4.2 * len(worlds), 4.2), layout="constrained", sharey=True, squeeze=False
    )
    for axes, world in zip(panels.flat, worlds, strict=True):
        mine = {label: line for label, line in lines.items() if (line[0][1].summary.disturbance or "undisturbed") == world}
        for i, (label, line) in enumerate(mine.items()):
            points = sorted(line, key=lambda point: point[0])
            shift = 1 + 0.03 * (i - len(mine) / 2)
            x = [shift * max(ms, 10.0) for ms, _ in points]
            for where, (_, run) in zip(x, points, strict=True):
                _point(axes, where, run.summary.success, fmt=MARKERS[i % len(MARKERS)], color=f"C{i}")
            axes.plot(x, [run.summary.success.mean for _, run in points], color=f"C{i}", label=_short(label, world))
        first = next(iter(mine.values()))[0][1].summary
        axes.set(xscale="log", xlabel="latency of every plan (ms)", title=f"{first.task}, {world}", ylim=(-0.03, 1.03))
        ticks = sorted({max(ms, 10.0) for line in mine.values() for ms, _ in line})
        axes.set_xticks(ticks, ["0" if tick == 10.0 else f"{tick:.0f}" for tick in ticks])
        axes.minorticks_off()
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8, loc="lower left")
    panels.flat[0].set_ylabel("success, 95 % interval")
    figure.savefig(path, dpi=120)
    plt.close(figure)
    return True


def _short(label: str, world: str) -> str:
    return label.replace(f", {world}", "")


def _point(axes: Axes, x: float, estimate: Estimate, **style: object) -> None:
    low, high = estimate.ci95
    error = [[max(estimate.mean - low, 0)], [max(high - estimate.mean, 0)]]
    axes.errorbar(x, estimate.mean, yerr=error, capsize=3, ms=6, **style)  # type: ignore[arg-type]

"""Pictures of runs side by side."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from matplotlib.figure import Figure

from paradp.envs import find_task
from paradp.rollouts.evaluation.comparison import ComparedRun, Comparison
from paradp.rollouts.statistics import Estimate
from paradp.scripts.canvas import WIDTH, legend_below, panels, save
from paradp.scripts.families import COLOURS
from paradp.scripts.trade_off import Period, TradeOffPoint, plot_trade_off

MARKERS = "osD^vP*X<>p"
# Position of a latency of zero on a logarithmic axis.
IDEAL_MS = 10.0


def plot_reward_against_latency(comparison: Comparison, path: Path | BinaryIO) -> None:
    """Success, and a graded reward, against the latency of a plan for one robot at a time; see `plot_trade_off`."""
    first = comparison.runs[0].summary
    executed = {run.summary.execute for run in comparison.runs}
    plot_trade_off(
        [_measured(run, comparison.graded) for run in comparison.runs],
        f"{first.task}, {first.episodes} episodes each",
        periods(first.task, executed.pop() if len(executed) == 1 else None),
        path,
    )


def periods(task: str, execute: int | None) -> list[Period]:
    """The periods that a plan may have to fit into: a control step, and the executed actions of a chunk, if given."""
    control_ms = 1000 / find_task(task).task.control_hz
    step = Period(f"control step, {control_ms:g} ms", control_ms)
    if execute is None:
        return [step]
    return [step, Period(f"chunk, {execute * control_ms:g} ms: a plan must fit", execute * control_ms)]


def _measured(run: ComparedRun, graded: bool) -> TradeOffPoint:
    latency = run.summary.latency_ms_batch1.replan
    reward = {"reward": run.summary.reward} if graded else {}
    return TradeOffPoint(
        run.label, reward | {"success": run.summary.success}, latency.p50, latency.p95, latency.p99, str(run.world)
    )


@dataclass(frozen=True)
class Late:
    """Success of a policy whose plans all took the same time.

    Attributes:
        label: the policy, without clock and world.
        ms: latency of every plan.
        world: the disturbance, or `undisturbed`.
        success: with its interval.
    """

    label: str
    ms: float
    world: str
    success: Estimate


def plot_clocks(comparison: Comparison, path: Path | BinaryIO) -> bool:
    """Success against the latency that the clock gave every plan; `False` if there were not several such clocks."""
    late = [found for run in comparison.runs if (found := _late(run))]
    if max(Counter((point.label, point.world) for point in late).values(), default=0) < 2:
        return False
    plot_late(late, comparison.runs[0].summary.task, path)
    return True


def plot_late(points: Sequence[Late], task: str, path: Path | BinaryIO) -> Figure:
    """Plots success against the plans' latency: a panel for each world, a line for each label; `ideal` is drawn at 0.

    Returns the figure, closed.
    """
    worlds, labels = (list(dict.fromkeys(values)) for values in zip(*((p.world, p.label) for p in points), strict=True))
    figure, axes_of = panels(len(worlds), 3.6, width=min(WIDTH, 1 + 4.5 * len(worlds)), sharey=True)
    ticks = sorted({max(point.ms, IDEAL_MS) for point in points})
    for axes, world in zip(axes_of, worlds, strict=True):
        for i, label in enumerate(labels):
            line = sorted((p for p in points if (p.world, p.label) == (world, label)), key=lambda point: point.ms)
            shift = 1 + 0.03 * (i - (len(labels) - 1) / 2)
            x = [shift * max(point.ms, IDEAL_MS) for point in line]
            style: dict[str, Any] = {"color": COLOURS[i % len(COLOURS)], "clip_on": False}
            for where, point in zip(x, line, strict=True):
                axes.plot([where, where], point.success.ci95, lw=1.2, alpha=0.6, **style)
            axes.plot(x, [point.success.mean for point in line], marker=MARKERS[i % len(MARKERS)], label=label, **style)
        axes.set(xscale="log", xlabel="latency of every plan (ms)", title=f"{task}, {world}", ylim=(0.0, 1.0))
        axes.set_xticks(ticks, ["0" if tick == IDEAL_MS else f"{tick:.0f}" for tick in ticks])
        axes.minorticks_off()
    axes_of[0].set_ylabel("success, 95 % interval")
    legend_below(figure)
    save(figure, path)
    return figure


def _late(run: ComparedRun) -> Late | None:
    return late_run(run.label, run.summary.clock, run.summary.disturbance or "undisturbed", run.summary.success)


def late_run(label: str, clock: str, world: str, success: Estimate) -> Late | None:
    """The point of a run whose clock gives every plan the same latency; `None` for others."""
    fixed = re.fullmatch(r"ideal|fixed:(.+)", clock)
    if fixed is None:
        return None
    parts = [part for part in label.split(", ") if part not in (clock, world)]
    return Late(", ".join(parts), float(fixed[1] or 0), world, success)

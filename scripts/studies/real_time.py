"""Measures ten minutes of real-time control at 20 Hz, on an idle machine and beside a program that uses one core."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, StrMethodFormatter

from paradp.envs import find_task
from paradp.rollouts.machine import cores
from paradp.rollouts.realtime.robot import COMMAND_SHARE
from paradp.rollouts.statistics import wilson
from paradp.scripts.canvas import legend_below, panels, save
from paradp.scripts.families import COLOURS
from paradp.scripts.report import markdown_table, write_report
from paradp.scripts.studies.context import Context
from paradp.scripts.studies.published import Page
from paradp.scripts.studies.registry import drawing, study

MINUTES = 10
BESIDE = {"alone": 0, "beside one hog": 1}
HOG = "while True: pass"
SPANS = ("observation to command", "act", "encode", "denoise", "decode", "control step late by")


@dataclass(frozen=True)
class Drive:
    """The output of `paradp drive`."""

    name: str
    result: dict[str, Any]
    spans: list[dict[str, Any]]

    @classmethod
    def read(cls, name: str, folder: Path) -> "Drive":
        result = json.loads((folder / "drive.json").read_text())
        return cls(name, result, json.loads((folder / "trace.json").read_text())["traceEvents"])

    def milliseconds(self, span: str) -> list[float]:
        """The durations of all spans of a name, in ms."""
        return [event["dur"] / 1000 for event in self.spans if event["ph"] == "X" and event["name"] == span]


@study
def study_real_time(context: Context) -> None:
    """Writes OUT/TASK-real-time.md and its picture; the output of the drives is in RUNS/TASK-real-time."""
    drives = []
    for name, hogs in BESIDE.items():
        folder = context.runs / f"{context.task}-real-time" / name.replace(" ", "-")
        with _hogs(hogs):
            subprocess.run([*_command(context.task, folder)], check=True)
        drives.append(Drive.read(name, folder))
    page = context.out / f"{context.task}-real-time.md"
    hz = find_task(context.task).task.control_hz
    body = f"""
`paradp drive {context.task} --minutes {MINUTES}`: the simulator plays the robot, in its own process, at {hz} Hz of
wall-clock time. Chunks are planned in another process with the default sampler and engine. All share {cores()} cores. The
hog is a Python process with an endless loop. Time only stops while the scene of an episode is set up. A command counts as
missed if it is not there {1000 * COMMAND_SHARE / hz:.0f} ms after the observation, because the simulator needs the rest of
the period; the last command is then repeated. A plan is late if it has not arrived when Ta actions of the last one are
executed. `continue-chunk` then executes the rest of the last chunk, and holds the position at its end.

{markdown_table(["", *BESIDE], [[what, *(count(d) for d in drives)] for what, count in _COUNTS.items()])}

*Unsafe*: commands that were not finite or outside the action limits, and executed commands that changed by more than the
rate limit. These are counted by a second check, independent of the safety checks.
*Held*: there was no action to execute, as at the start of every episode until the first plan has arrived.
*Slowed*: commands that the rate limit reduced. *Begun late*: control steps that the robot itself started more than
{100 / hz:.0f} ms late, because the simulator was slow or its process was not scheduled.

{markdown_table(_HEADER, [row for span in SPANS for row in _times(span, drives)])}

![how long observation to command and plans take]({page.with_suffix(".png").name})
"""
    write_report(page, f"{context.task} in real time", body)
    draw(page)


def _command(task: str, folder: Path) -> list[str]:
    paradp = Path(sys.executable).with_name("paradp")
    return [str(paradp), "drive", task, f"--minutes={MINUTES}", f"--out={folder}", f"--trace={folder / 'trace.json'}"]


@contextmanager
def _hogs(count: int) -> Iterator[None]:
    hogs = [subprocess.Popen([sys.executable, "-c", HOG]) for _ in range(count)]
    try:
        yield
    finally:
        for hog in hogs:
            hog.kill()
            hog.wait()


def _share(part: int, whole: int) -> str:
    if not whole:
        return str(part)
    low, high = wilson(part, whole).ci95
    return f"{part} ({100 * low:.2f} to {100 * high:.2f} %)"


def _slowed(drive: Drive) -> int:
    return sum(report["slowed"] for report in drive.result["safety"])


def _stops(drive: Drive) -> str:
    details = [report["detail"] for report in drive.result["safety"] if report["stopped"]]
    return "; ".join([str(len(details)), *details])


_HEADER = ["ms", "", "p50", "p95", "p99", "p99.9", "max", "jitter"]
_COUNTS = {
    "control steps": lambda d: str(d.result["ticks"]),
    "missed": lambda d: _share(d.result["missed"], d.result["ticks"]),
    "begun late": lambda d: _share(d.result["late_steps"], d.result["ticks"]),
    "plans": lambda d: str(d.result["plans"]),
    "late plans": lambda d: _share(d.result["late_plans"], d.result["plans"]),
    "held": lambda d: _share(d.result["held"], d.result["ticks"]),
    "unsafe": lambda d: str(d.result["unsafe"]),
    "slowed": lambda d: _share(_slowed(d), d.result["ticks"]),
    "stops": _stops,
    "successes of episodes": lambda d: f"{d.result['successes']} of {d.result['episodes']}",
}


def _times(span: str, drives: list[Drive]) -> list[list[str]]:
    rows = []
    for drive in drives:
        measured = drive.result["milliseconds"][span]
        rows.append(
            [span, drive.name, *(f"{measured[name]:.1f}" for name in ("p50", "p95", "p99", "p99_9", "max", "jitter"))]
        )
    return rows


# Column of a percentile → share of times that are longer.
LONGER = {"p50": 0.5, "p95": 0.05, "p99": 0.01, "p99.9": 0.001}


@drawing()
def draw(path: Path) -> Figure:
    """Draws the picture of a page from its tables: the share of times that exceed a value, against the value."""
    page = Page(path)
    times, counts = page.table("ms", "p50", "max"), {row["0"]: row for row in page.table("0", *BESIDE)}
    deadline = page.number(r"not there (\d+) ms after")
    figure, (left, right) = panels(2, 4.0, sharey=True)
    of = {left: ("observation to command", counts["control steps"]), right: ("denoise", counts["plans"])}
    for axes, (span, count) in of.items():
        for i, row in enumerate(row for row in times if row["ms"] == span):
            name = row["1"]
            ms = [float(row[column]) for column in (*LONGER, "max")]
            axes.plot(ms, [*LONGER.values(), 1 / float(count[name])], "os"[i] + "-", color=COLOURS[i], label=name)
        axes.set(xscale="log", yscale="log", xlabel="time (ms): p50, p95, p99, p99.9 and max", ylim=(None, 1.0))
    left.axvline(deadline, color="0.3", lw=1, ls=":")
    left.annotate(f"deadline, {deadline:.0f} ms", (deadline, 0.4), (-3, 0), textcoords="offset points", rotation=90,
                  ha="right", va="top", fontsize=8, color="0.3")  # fmt: skip
    left.set(title="from an observation to its command", ylabel="share of times that are longer")
    right.set(title="denoising a chunk")
    for axes in (left, right):
        axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 3.0, 5.0)))
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axes.minorticks_off()
        axes.set_yticks([1.0, 0.1, 0.01, 0.001, 0.0001], ["100 %", "10 %", "1 %", "0.1 %", "0.01 %"])
    legend_below(figure)
    save(figure, path.with_suffix(".png"))
    return figure

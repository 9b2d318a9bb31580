"""Compares convergence on policies for the same task with other noise schedules, prediction types and networks."""

from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from paradp.checkpoints import load_policy, read_info
from paradp.policy.learning.metrics_log import read_metrics
from paradp.scripts.canvas import legend_below, panels, save
from paradp.scripts.console import each
from paradp.scripts.families import COLOURS
from paradp.scripts.report import markdown_table, write_report
from paradp.scripts.studies.bench import COST_HEADER, Bench
from paradp.scripts.studies.closed_loop import ClosedLoops, success_rate
from paradp.scripts.studies.context import Context
from paradp.scripts.studies.published import Page
from paradp.scripts.studies.registry import drawing, study

SAMPLERS = ("para-ddpm", "para-ddpm:split=linear:tolerance=0.03", "para-ddim-15", "para-dpm-solver-15", "speculative-ddpm")


@study
def study_variants(context: Context) -> None:
    """Writes TASK-variants.md and its picture, for all trainings in the folder of runs."""
    trainings = [path.parent for path in sorted(context.runs.glob("*/checkpoint")) if _is_of(path, context.task)]
    if not trainings:
        raise ValueError(f"{context.runs} holds no trainings; give the folder of several `paradp train --out` with --runs")
    measured = {}
    described = []
    for training in each(f"{context.task}, trainings", trainings):
        bench = Bench(load_policy(training / "checkpoint", "ddpm"))
        measured[training.name] = [bench.measure(sampler) for sampler in SAMPLERS]
        described.append([training.name, *_description(training, bench), _success(training, bench)])
    costs = [
        [name, f"`{sampler}`", *one.cells()]
        for name, results in measured.items()
        for sampler, one in zip(SAMPLERS, results, strict=True)
    ]
    page = context.out / f"{context.task}-variants.md"
    body = _page(context.task, bench.describe(), described, costs)
    write_report(page, f"{context.task}: other schedules, predictions, networks", body)
    draw(page)


_TRAINED = ["policy", "network", "schedule", "predicts", "optimiser steps", "learning rate", "minutes", "validation loss",
            "success of ddpm (95 %)"]  # fmt: skip
_COST = ["policy", "sampler", *COST_HEADER]


def _page(task: str, setting: str, described: list[list[str]], costs: list[list[str]]) -> str:
    """The text of the page.

    Args:
        task: the task of the policies.
        setting: description of the observations and the measurement.
        described, costs: rows of the tables `_TRAINED` and `_COST`.
    """
    return f"""
Policies for {task}, trained on the same demonstrations (the commands are in their checkpoints' cards), and
{setting}

{markdown_table(_TRAINED, described)}

(The losses of different prediction types are not comparable. All policies were trained for a few minutes only, to study how
samplers converge on them, not how good they can become.)

{markdown_table(_COST, costs)}

![rounds by policy and sampler]({task}-variants.png)
"""


def _is_of(checkpoint: Path, task: str) -> bool:
    """Whether a checkpoint is a diffusion policy for the task."""
    spec = read_info(checkpoint).spec
    return spec.task == task and spec.process == "diffusion"


def _description(training: Path, bench: Bench) -> list[str]:
    spec = bench.policy.spec
    metrics = read_metrics(training / "metrics.jsonl")
    if not metrics:
        raise ValueError(f"{training} has not trained yet: its metrics.jsonl is empty")
    last = metrics[-1]
    size = sum(p.numel() for p in bench.policy.network.parameters()) / 1e6
    betas = "".join(f", {key[5:]} {spec.schedule[key]:g}" for key in ("beta_start", "beta_end") if key in spec.schedule)
    return [
        f"{spec.network.kind}, {size:.1f} M",
        spec.schedule["beta_schedule"] + betas,
        spec.schedule["prediction_type"],
        str(last.step),
        f"{max(m.learning_rate for m in metrics):.1e}",
        f"{last.seconds / 60:.0f}",
        f"{last.validation_loss:.4f}",
    ]


def _success(training: Path, bench: Bench) -> str:
    """Success of `paradp rollout --checkpoint TRAINING/checkpoint --sampler ddpm --out TRAINING/ddpm`; empty if not run."""
    found = ClosedLoops(training, bench.policy, read_info(training / "checkpoint").model_sha256).find("ddpm")
    return success_rate(found.success) if found else ""


@drawing()
def draw(path: Path) -> Figure:
    """Draws the picture of a page from its tables."""
    rows = Page(path).table(*_COST)
    names, samplers = (list(dict.fromkeys(row[key] for row in rows)) for key in ("policy", "sampler"))
    figure, (left, right) = panels(2, 4.2)
    for i, sampler in enumerate(samplers):
        of = {row["policy"]: row for row in rows if row["sampler"] == sampler}
        x = [k + 0.14 * (i - (len(samplers) - 1) / 2) for k in range(len(names))]
        style: dict[str, Any] = {"color": COLOURS[i], "marker": "o^sDP"[i % 5], "ls": "", "ms": 6}
        left.vlines(x, 0, [float(of[name]["rounds a chunk"]) for name in names], color=COLOURS[i], lw=2, alpha=0.4)
        left.plot(x, [float(of[name]["rounds a chunk"]) for name in names], label=sampler, **style)
        try:
            errors = [float(of[name]["error, median"]) for name in names]
        except ValueError:
            continue  # an exact sampler has none
        right.plot(x, errors, **style)
    left.set(ylabel="rounds a chunk, mean", ylim=(0, None), title="rounds")
    right.set(ylabel="error of a chunk, median (normalised units)", yscale="log", title="error (exact samplers have none)")
    for axes in (left, right):
        axes.set_xticks(range(len(names)), names)
        axes.set_xlabel("trained policy")
        axes.grid(visible=False, axis="x")
    legend_below(figure)
    save(figure, path.with_suffix(".png"))
    return figure

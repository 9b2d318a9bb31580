"""Does convergence depend on what was trained? The same task, other schedules, prediction types and networks."""

import json
from pathlib import Path

import matplotlib
import numpy as np

from paradp.checkpoints import load_policy, read_info
from paradp.scripts.console import each
from paradp.scripts.report import markdown_table, write_report
from paradp.scripts.studies.bench import COST_HEADER, Bench, Measured
from paradp.scripts.studies.closed_loop import ClosedLoops, success_rate
from paradp.scripts.studies.context import Context

matplotlib.use("Agg")
import matplotlib.pyplot as plt

SAMPLERS = ("para-ddpm", "para-ddpm:split=linear:tolerance=0.03", "para-ddim-15", "para-dpm-solver-15", "speculative-ddpm")


def study_variants(context: Context) -> None:
    """Writes TASK-variants.md and its picture, of every training in the folder of runs."""
    trainings = [path.parent for path in sorted(context.runs.glob("*/checkpoint")) if _is_of(path, context.task)]
    if not trainings:
        raise ValueError(f"{context.runs} holds no trainings; give the folder of several `paradp train --out` with --runs")
    measured = {}
    described = []
    for training in each(f"{context.task}, trainings", trainings):
        bench = Bench(load_policy(training / "checkpoint", "ddpm"))
        measured[training.name] = [bench.measure(sampler) for sampler in SAMPLERS]
        described.append([training.name, *_description(training, bench), _success(training, bench)])
    rows = [
        [name, f"`{sampler}`", *one.cells()]
        for name, results in measured.items()
        for sampler, one in zip(SAMPLERS, results, strict=True)
    ]
    header = [
        "policy",
        "network",
        "schedule",
        "predicts",
        "optimiser steps",
        "learning rate",
        "minutes",
        "validation loss",
        _SUCCESS,
    ]
    body = f"""
Policies for {context.task}, trained on the same demonstrations (the commands are in their checkpoints' cards), and
{bench.describe()}

{markdown_table(header, described)}

(The losses of different prediction types are not comparable: each is of what is predicted. All were trained for minutes, to
ask how samplers converge on them, not how well they can get.)

{markdown_table(["policy", "sampler", *COST_HEADER], rows)}

![rounds by policy and sampler]({context.task}-variants.png)
"""
    write_report(
        context.out / f"{context.task}-variants.md", f"{context.task}: other schedules, predictions, networks", body
    )
    _plot(measured, context.out / f"{context.task}-variants.png")


_SUCCESS = "success of ddpm (95 %)"


def _is_of(checkpoint: Path, task: str) -> bool:
    return read_info(checkpoint).spec.task == task


def _description(training: Path, bench: Bench) -> list[str]:
    spec = bench.policy.spec
    metrics = [json.loads(line) for line in (training / "metrics.jsonl").read_text().splitlines()]
    if not metrics:
        raise ValueError(f"{training} has not trained yet: its metrics.jsonl is empty")
    last = metrics[-1]
    size = sum(p.numel() for p in bench.policy.network.parameters()) / 1e6
    betas = "".join(f", {key[5:]} {spec.schedule[key]:g}" for key in ("beta_start", "beta_end") if key in spec.schedule)
    return [
        f"{spec.network.kind}, {size:.1f} M",
        spec.schedule["beta_schedule"] + betas,
        spec.schedule["prediction_type"],
        str(last["step"]),
        f"{max(m['learning_rate'] for m in metrics):.1e}",
        f"{last['seconds'] / 60:.0f}",
        f"{last['validation_loss']:.4f}",
    ]


def _success(training: Path, bench: Bench) -> str:
    """Of `paradp rollout --checkpoint TRAINING/checkpoint --sampler ddpm --out TRAINING/ddpm`, if it was run."""
    found = ClosedLoops(training, bench.policy, read_info(training / "checkpoint").model_sha256).find("ddpm")
    return success_rate(found.success) if found else ""


def _plot(measured: dict[str, list[Measured]], path: Path) -> None:
    figure, (left, right) = plt.subplots(1, 2, figsize=(13, 4.5), layout="constrained")
    names, width = list(measured), 0.8 / len(SAMPLERS)
    for i, sampler in enumerate(SAMPLERS):
        x = np.arange(len(names)) + (i - (len(SAMPLERS) - 1) / 2) * width
        left.bar(x, [measured[n][i].rounds.mean() for n in names], width, label=sampler)
        errors = [measured[n][i].error for n in names]
        if all(e is not None for e in errors):
            right.bar(x, [np.median(e) for e in errors], width, label=sampler)  # type: ignore[arg-type]
    left.set(ylabel="rounds a chunk")
    right.set(ylabel="median error of a chunk", yscale="log")
    for axes in (left, right):
        axes.set_xticks(np.arange(len(names)), names)
        axes.grid(alpha=0.3, axis="y")
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=len(SAMPLERS), fontsize="small")
    figure.savefig(path, dpi=110)
    plt.close(figure)

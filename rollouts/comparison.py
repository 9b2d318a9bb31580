"""Runs side by side: the same seeds, the difference in success, and a picture."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import pandas as pd

from paradp.rollouts.statistics import PairedLoss, paired_loss
from paradp.rollouts.summary import Summary

matplotlib.use("Agg")
import matplotlib.pyplot as plt


@dataclass(frozen=True)
class Compared:
    """One run beside the others.

    Attributes:
        label: the sampler.
        summary: what the run measured.
        steps: its control steps, one row each.
        loss: success lost against the first run, or `None` for that run itself.
    """

    label: str
    summary: Summary
    steps: pd.DataFrame
    loss: PairedLoss | None

    def measurements(self) -> dict[str, str]:
        """What a table shows of the run: name → value."""
        s, loss = self.summary, self.loss
        alone, batch = s.latency_ms_batch1, s.latency_ms
        return {
            "success (95 %)": f"{s.success.mean:.3f} ({s.success.ci95[0]:.3f}–{s.success.ci95[1]:.3f})",
            "reward (95 %)": f"{s.reward.mean:.3f} ({s.reward.ci95[0]:.3f}–{s.reward.ci95[1]:.3f})",
            "success lost, paired (95 % below)": f"{loss.loss:+.3f} ({loss.upper95:+.3f})" if loss else "baseline",
            "plan, 1 environment: p50 / p95 ms": f"{alone.replan.p50:.0f} / {alone.replan.p95:.0f}",
            f"plan, up to {s.envs} environments: p50 / p95 ms": f"{batch.replan.p50:.0f} / {batch.replan.p95:.0f}",
            "control step, 1 environment: mean / p99 ms": f"{alone.step.mean:.1f} / {alone.step.p99:.0f}",
            "rounds a plan": f"{s.solver.rounds_mean:.1f}",
            "evaluations a plan": f"{s.solver.evaluations_mean:.0f}",
            "seconds an episode, 1 environment": f"{s.seconds_per_episode_batch1:.1f}",
            "control steps a second": f"{s.throughput_steps_per_s:.0f}",
            "environments, workers, threads": f"{s.envs}, {s.workers}, {s.threads}",
            "engine, precision": f"{s.engine}, {s.precision}",
        }


@dataclass(frozen=True)
class Comparison:
    """Runs of one task; the first one is the baseline."""

    runs: list[Compared]

    @property
    def title(self) -> str:
        first = self.runs[0].summary
        return f"{first.task}: {first.episodes} episodes, seeds {first.seed} to {first.seed + first.episodes - 1}"

    def rows(self) -> list[list[str]]:
        """A row a measurement: its name, then its value in every run."""
        columns = [run.measurements() for run in self.runs]
        return [[name, *(column[name] for column in columns)] for name in columns[0]]

    def plot(self, path: Path) -> None:
        """Success against the latency of a plan, and the distribution of control-step latencies."""
        figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4), layout="constrained")
        for i, run in enumerate(self.runs):
            success, replan = run.summary.success, run.summary.latency_ms_batch1.replan
            low, high = success.mean - success.ci95[0], success.ci95[1] - success.mean
            left.errorbar(
                replan.p50,
                success.mean,
                xerr=[[0], [replan.p95 - replan.p50]],
                yerr=[[max(low, 0)], [max(high, 0)]],
                fmt="o",
                capsize=3,
                color=f"C{i}",
                label=run.label,
            )
            latencies = 1000 * run.steps["seconds"]
            right.ecdf(latencies, color=f"C{i}", label=run.label)
        task, episodes = self.runs[0].summary.task, self.runs[0].summary.episodes
        left.set(
            xlabel="latency of a plan, one environment: p50 to p95 (ms)",
            ylabel="success, 95 % interval",
            ylim=(-0.03, 1.03),
            title=f"{task}, {episodes} episodes each",
        )
        left.set_xlim(left=0)
        right.set(
            xlabel=f"latency of a control step, {self.runs[0].summary.envs} environments a batch (ms)",
            ylabel="share of steps below",
            xscale="log",
            title="most steps take an action from a chunk, the others plan",
        )
        for axes in (left, right):
            axes.grid(alpha=0.3)
            axes.legend(loc="lower right")
        figure.savefig(path, dpi=120)
        plt.close(figure)


def compare(paths: Sequence[Path]) -> Comparison:
    """Reads finished runs; the first is the baseline of the paired differences."""
    episodes = [pd.read_parquet(path / "episodes.parquet") for path in paths]
    successes = [dict(zip(table["seed"], table["success"], strict=True)) for table in episodes]
    runs = []
    for i, path in enumerate(paths):
        summary = Summary.read(path / "summary.json")
        label = path.name if len(paths) > 1 else summary.sampler["name"]
        loss = paired_loss(successes[0], successes[i]) if i else None
        runs.append(Compared(label, summary, pd.read_parquet(path / "steps.parquet"), loss))
    return Comparison(runs)

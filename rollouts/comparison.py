"""Runs side by side on the same seeds: what each measured, and its differences from one of them."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from paradp.rollouts.statistics import Estimate, PairedLoss, detectable_difference, paired_bootstrap, paired_loss
from paradp.rollouts.summary import Summary

# Of an episode: in which of them runs are compared beside success.
COMPARED = ("reward", "steps", "jerk")


@dataclass(frozen=True)
class Compared:
    """One run beside the others.

    Attributes:
        label: its name among them.
        summary: what it measured.
        episodes, steps: its tables, a row an episode and a row a control step.
        alone: control steps of one robot alone.
        loss: success lost against the baseline; `None` for the baseline itself.
        differences: from the baseline on the same seeds, by column of `episodes`.
        path: its directory.
    """

    label: str
    summary: Summary
    episodes: pd.DataFrame
    steps: pd.DataFrame
    alone: pd.DataFrame
    loss: PairedLoss | None
    differences: dict[str, Estimate]
    path: Path

    def measurements(self) -> dict[str, str]:
        """What a table shows of the run: name → value."""
        s, loss = self.summary, self.loss
        alone, batch = s.latency_ms_batch1, s.latency_ms
        return {
            "success (95 %)": interval(s.success),
            "reward (95 %)": interval(s.reward),
            "success lost, paired (95 % below)": f"{loss.loss:+.3f} ({loss.upper95:+.3f})" if loss else "baseline",
            "plan, 1 environment: p50 / p95 ms": f"{alone.replan.p50:.0f} / {alone.replan.p95:.0f}",
            f"plan, up to {s.envs} environments: p50 / p95 ms": f"{batch.replan.p50:.0f} / {batch.replan.p95:.0f}",
            "control step, 1 environment: mean / p99 ms": f"{alone.step.mean:.1f} / {alone.step.p99:.0f}",
            "rounds a plan": f"{s.solver.rounds_mean:.1f}",
            "evaluations a plan": f"{s.solver.evaluations_mean:.0f}",
            "seconds an episode, 1 environment": f"{s.seconds_per_episode_batch1:.1f}",
            "control steps a second": f"{s.throughput_steps_per_s:.0f}",
            "environments, threads": f"{s.envs}, {s.threads}",
            "engine, precision": f"{s.engine}, {s.precision}",
        }

    @property
    def detectable(self) -> float | None:
        """The loss of success that these episodes would have shown with 80 % power; `None` for the baseline, or too few."""
        if self.loss is None:
            return None
        try:
            return detectable_difference(self.loss.pairs, (self.loss.lost + self.loss.won) / self.loss.pairs)
        except ValueError:
            return None

    def row(self) -> dict[str, Any]:
        """All of it as columns of a table."""
        summary = asdict(self.summary)
        sampler, *_ = (summary.pop(name) for name in ("sampler", "hardware", "versions"))
        return {
            "cell": self.label,
            "sampler": sampler["name"],
            "settings": json.dumps(sampler["settings"]),
            **{str(name): value for name, value in pd.json_normalize(summary, sep="_").iloc[0].items()},
            **({} if self.loss is None else {f"loss_{name}": value for name, value in asdict(self.loss).items()}),
            **{f"{name}_difference": estimate.mean for name, estimate in self.differences.items()},
        }


@dataclass(frozen=True)
class Comparison:
    """Runs of one task on the same seeds; one of them is the baseline of the paired differences."""

    runs: list[Compared]
    baseline: str

    @property
    def title(self) -> str:
        first = self.runs[0].summary
        return f"{first.task}: {first.episodes} episodes, seeds {first.seed} to {first.seed + first.episodes - 1}"

    def rows(self) -> list[list[str]]:
        """A row a measurement: its name, then its value in every run."""
        columns = [run.measurements() for run in self.runs]
        return [[name, *(column[name] for column in columns)] for name in columns[0]]

    def table(self) -> pd.DataFrame:
        """A row a run, everything that was measured of it."""
        return pd.DataFrame([run.row() for run in self.runs])


def compare(paths: Mapping[str, Path], baseline: str | None = None) -> Comparison:
    """Reads finished runs: label → directory. The first is the baseline unless another is named."""
    baseline = baseline or next(iter(paths))
    episodes = {label: pd.read_parquet(path / "episodes.parquet") for label, path in paths.items()}
    reference = episodes[baseline]
    runs = []
    for label, path in paths.items():
        other = label != baseline
        runs.append(
            Compared(
                label,
                Summary.read(path / "summary.json"),
                episodes[label],
                pd.read_parquet(path / "steps.parquet"),
                pd.read_parquet(path / "alone.parquet"),
                paired_loss(_by_seed(reference), _by_seed(episodes[label])) if other else None,
                _differences(reference, episodes[label]) if other else {},
                path,
            )
        )
    return Comparison(runs, baseline)


def interval(estimate: Estimate, digits: int = 3) -> str:
    """A mean with its 95 % interval."""
    mean, low, high = (f"{value:.{digits}f}" for value in (estimate.mean, *estimate.ci95))
    return f"{mean} ({low}–{high})"


def _by_seed(episodes: pd.DataFrame) -> dict[int, bool]:
    return dict(zip(episodes["seed"], episodes["success"], strict=True))


def _differences(baseline: pd.DataFrame, candidate: pd.DataFrame) -> dict[str, Estimate]:
    pairs = baseline.merge(candidate, on="seed", suffixes=("_baseline", ""))
    return {name: paired_bootstrap(list(pairs[name]), list(pairs[f"{name}_baseline"])) for name in COMPARED}

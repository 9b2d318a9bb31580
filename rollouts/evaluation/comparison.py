"""Compares runs on the same seeds: the measurements of each, and paired differences from a baseline."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from paradp.policy.files.tables import read_table
from paradp.policy.wording import counted
from paradp.rollouts.episodes.summary import Latency, Summary
from paradp.rollouts.statistics import (
    Estimate,
    PairedLoss,
    detectable_difference,
    interval,
    paired_bootstrap,
    paired_loss,
)

# Columns of the table of episodes that are compared besides success.
COMPARED = ("reward", "steps", "jerk")
# Kinds of numbers, by numpy's letters.
_WHOLE, _TRUTH, _NUMBER = "iu", "b", "iuf"
_KINDS = {_WHOLE: "whole numbers", _TRUTH: "truth values", _NUMBER: "numbers"}
_OF_AN_EPISODE = {"seed": _WHOLE, "success": _TRUTH, **dict.fromkeys(COMPARED, _NUMBER)}
_OF_A_STEP = {"seed": _WHOLE, **dict.fromkeys(("seconds", "replan_seconds"), _NUMBER)}
_OF_A_RUNS_STEP = {**_OF_A_STEP, "step": _WHOLE, "replan_lateness": _NUMBER}


@dataclass(frozen=True)
class ComparedRun:
    """One run of a comparison.

    Attributes:
        label: its label.
        summary: its summary.
        episodes: its table with one row per episode.
        path: its directory.
        against: label of the run that it is compared with; `None` for the baseline.
        loss: lost success compared with that run; `None` for the baseline.
        differences: column of `episodes` → mean difference to that run on the same seeds.
    """

    label: str
    summary: Summary
    episodes: pd.DataFrame
    path: Path
    against: str | None
    loss: PairedLoss | None
    differences: dict[str, Estimate]

    @cached_property
    def steps(self) -> pd.DataFrame:
        """The table with one row per control step, the largest of a run: read when it is needed first.

        Raises:
            ValueError: it is damaged.
            OSError: it is missing or cannot be read.
        """
        return _steps(self.path / "steps.parquet")

    @property
    def sampler(self) -> str:
        """The sampler as typed, with which the label begins."""
        return self.label.partition(",")[0]

    @property
    def world(self) -> tuple[str, str | None, int]:
        """The conditions: clock, disturbance and step limit."""
        return self.summary.clock, self.summary.disturbance, self.summary.max_steps

    @property
    def choice(self) -> tuple[str, str, int, str]:
        """The method: sampler, controller, and number of executed actions."""
        sampler = self.summary.sampler
        return sampler["name"], json.dumps(sampler["settings"]), self.summary.execute, self.summary.controller

    def measurements(self) -> dict[str, str]:
        """The measurements in the table: name → value."""
        s, loss = self.summary, self.loss
        alone, batch = s.latency_ms_batch1, s.latency_ms
        together = counted(s.envs, "environment")
        return {
            "success (95 %)": interval(s.success),
            "reward (95 %)": interval(s.reward),
            "success lost against the first (upper 95 %)": f"{loss.loss:+.3f} ({loss.upper95:+.3f})" if loss else "baseline",
            "plan, 1 environment: p50 / p95 ms": f"{alone.replan.p50:.0f} / {alone.replan.p95:.0f}",
            "encoding / denoising, 1 environment: p50 ms": _stages(alone),
            f"plan, up to {together}: p50 / p95 ms": f"{batch.replan.p50:.0f} / {batch.replan.p95:.0f}",
            "control step, 1 environment: mean / p99 ms": f"{alone.step.mean:.1f} / {alone.step.p99:.0f}",
            "rounds a plan": f"{s.solver.rounds_mean:.1f}",
            "evaluations a plan": f"{s.solver.evaluations_mean:.0f}",
            "seconds an episode, 1 environment": f"{s.seconds_per_episode_batch1.mean:.1f}",
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
        """Everything as one row of a table."""
        summary = asdict(self.summary)
        samplers = {name: summary.pop(name) for name in ("sampler", "sampler_batch1")}
        for name in ("latency_ms", "latency_ms_batch1"):  # without the stages that an older version did not measure
            summary[name] = {of: quantiles for of, quantiles in summary[name].items() if quantiles is not None}
        loss = {} if self.loss is None else {name: getattr(self.loss, name) for name in ("loss", "upper95", "ci95", "pairs")}
        return {
            "cell": self.label,
            **{name: sampler["name"] for name, sampler in samplers.items()},
            **{f"{name}_settings": json.dumps(sampler["settings"]) for name, sampler in samplers.items()},
            **_flat({name: value for name, value in summary.items() if name not in ("hardware", "versions")}),
            "against": self.against,
            **{f"loss_{name}": value for name, value in loss.items()},
            **_flat({f"{name}_difference": asdict(estimate) for name, estimate in self.differences.items()}),
        }


@dataclass(frozen=True)
class Comparison:
    """Runs of one task on the same seeds, one of them the baseline.

    Each run is compared with the baseline method under the same clock and disturbance. The baseline method under other
    clocks is compared with its own run under the baseline clock. If there is no such run, it is compared with the baseline.
    """

    runs: list[ComparedRun]
    baseline: str

    @property
    def title(self) -> str:
        """Task, number of episodes and seeds, as a title."""
        first = self.runs[0].summary
        return f"{first.task}: {counted(first.episodes, 'episode')}, {first.seeds}"

    @property
    def graded(self) -> bool:
        """Whether the reward has values other than 0 and 1."""
        return any(run.summary.graded for run in self.runs)

    def rows(self) -> list[list[str]]:
        """One row per measurement: its name, and its value in each run."""
        columns = [run.measurements() for run in self.runs]
        return [[name, *(column[name] for column in columns)] for name in columns[0]]

    def table(self) -> pd.DataFrame:
        """One row per run, with all its measurements."""
        return pd.DataFrame([run.row() for run in self.runs])


def compare(paths: Mapping[str, Path], baseline: str | None = None, steps: bool = True) -> Comparison:
    """Reads and compares finished runs.

    Args:
        paths: label → directory.
        baseline: label of the run with which others are compared; the first one by default.
        steps: whether to check the tables of control steps. Otherwise they may be missing, as in kept runs.

    Raises:
        ValueError: a file is damaged, or two runs have no seed in common.
        OSError: a file is missing or cannot be read.
    """
    baseline = baseline or next(iter(paths))
    runs = {
        label: ComparedRun(
            label,
            Summary.read(path / "summary.json"),
            _episodes(path / "episodes.parquet"),
            path,
            against=None,
            loss=None,
            differences={},
        )
        for label, path in paths.items()
    }
    compared = [_against(run, _partner(run, runs, baseline)) for run in runs.values()]
    for run in compared if steps else ():
        _check_steps(run)
    return Comparison(compared, baseline)


def _episodes(path: Path) -> pd.DataFrame:
    table = _read(path, _OF_AN_EPISODE)
    for name in COMPARED:
        if not np.isfinite(table[name]).all():
            raise ValueError(f"{path}: the column {name!r} holds values that are not finite")
    if not table["seed"].is_unique:
        raise ValueError(f"{path} holds two episodes of one seed")
    return table


def _steps(path: Path) -> pd.DataFrame:
    table = _read(path, _OF_A_RUNS_STEP, ("action",))
    if table["action"].map(np.size).nunique() != 1:
        raise ValueError(f"{path} does not hold an action of the same length in every row")
    return table


def _check_steps(run: ComparedRun) -> None:
    """Reads the tables of control steps, of which the run keeps `steps`; raises as `compare`."""
    _ = run.steps
    _read(run.path / "alone.parquet", _OF_A_STEP)


def _read(path: Path, columns: Mapping[str, str], others: tuple[str, ...] = ()) -> pd.DataFrame:
    """Reads a table with numeric columns (name → allowed numpy kinds), and other columns of any kind."""
    table = read_table(path, (*columns, *others))
    for name, kinds in columns.items():
        if list(table.columns).count(name) != 1:
            raise ValueError(f"{path} does not hold one column {name!r}")
        dtype = table[name].dtype
        if not isinstance(dtype, np.dtype) or dtype.kind not in kinds:
            raise ValueError(f"{path}: the column {name!r} holds {dtype}, not {_KINDS[kinds]}")
    return table


def _partner(run: ComparedRun, runs: Mapping[str, ComparedRun], baseline: str) -> ComparedRun | None:
    """The run that a run is compared with; `None` for the baseline."""
    first = runs[baseline]
    if run is first:
        return None
    world = (first.summary.clock, *run.world[1:]) if run.choice == first.choice else run.world
    partners = (
        other for other in runs.values() if (other.world, other.choice) == (world, first.choice) and other is not run
    )
    return next(partners, first)


def _against(run: ComparedRun, other: ComparedRun | None) -> ComparedRun:
    if other is None:
        return run
    loss = paired_loss(_by_seed(other.episodes), _by_seed(run.episodes))
    return replace(run, against=other.label, loss=loss, differences=_differences(other.episodes, run.episodes))


def _stages(latency: Latency) -> str:
    """The medians of a plan's stages; empty for files of older versions, which do not contain them."""
    if latency.encode is None or latency.denoise is None:
        return ""
    return f"{latency.encode.p50:.1f} / {latency.denoise.p50:.1f}"


def _flat(nested: dict[str, Any]) -> dict[str, Any]:
    return {str(name): value for name, value in pd.json_normalize(nested, sep="_").iloc[0].items()}


def _by_seed(episodes: pd.DataFrame) -> dict[int, bool]:
    return dict(zip(episodes["seed"], episodes["success"], strict=True))


def _differences(baseline: pd.DataFrame, candidate: pd.DataFrame) -> dict[str, Estimate]:
    pairs = baseline.merge(candidate, on="seed", suffixes=("_baseline", ""))
    return {name: paired_bootstrap(list(pairs[name]), list(pairs[f"{name}_baseline"])) for name in COMPARED}

"""Measures whether an engine or a precision reduces success, with rollouts that are otherwise equal, on the same seeds."""

from pathlib import Path
from typing import Any

from paradp.policy.files.formats import read_document
from paradp.policy.files.limits import DOCUMENT_BYTES
from paradp.policy.files.tables import read_table
from paradp.rollouts.episodes.summary import Summary
from paradp.rollouts.statistics import paired_loss
from paradp.scripts.report import markdown_table, write_report
from paradp.scripts.studies.closed_loop import describe_loss, success_by_seed, success_rate
from paradp.scripts.studies.context import Context
from paradp.scripts.studies.registry import study

BASELINE = ("eager", "fp32")
HEADER = ["engine", "precision", "success (95 %)", "lost to eager fp32 (95 %)", "rounds", "evaluations"]


@study
def study_engines(context: Context) -> None:
    """Writes OUT/TASK-engines.md from all runs in RUNS."""
    runs: dict[tuple[str, str], _StoredRun] = {}
    for path in sorted(context.runs.glob("*/summary.json")):
        run = _StoredRun(path.parent)
        if (other := runs.setdefault(run.engine, run)) is not run:
            raise ValueError(f"{run.path} and {other.path} are both runs of {' '.join(run.engine)}; keep one of them")
    if BASELINE not in runs:
        raise ValueError(f"{context.runs} holds no finished run of the eager engine in fp32 to compare with")
    eager = runs[BASELINE]
    for run in runs.values():
        if (difference := eager.difference(run)) is not None:
            raise ValueError(f"{run.path} differs from {eager.path} in {difference}, not only in its engine")
    rows = [
        [
            *engine,
            success_rate(run.success),
            "baseline" if run is eager else describe_loss(paired_loss(eager.success, run.success)),
            f"{run.summary.solver.rounds_mean:.2f}",
            f"{run.summary.solver.evaluations_mean:.1f}",
        ]
        for engine, run in sorted(runs.items(), key=lambda item: item[0] != BASELINE)
    ]
    sampler = eager.identity["sampler"]
    body = f"""
{context.task}, {sampler["name"]} ({", ".join(f"{k} {v}" for k, v in sampler["settings"].items())}), seeds from
{eager.identity["seed"]}, the same for all. Losses are paired: the share of seeds where only the baseline succeeded minus the
share where only the other engine succeeded.

{markdown_table(HEADER, rows)}
"""
    write_report(context.out / f"{context.task}-engines.md", f"{context.task}: engines and success", body)


class _StoredRun:
    """A finished rollout, read from its folder."""

    def __init__(self, path: Path):
        self.path = path
        self.identity: dict[str, Any] = read_document(path / "run.json", DOCUMENT_BYTES)
        self.engine = (self.identity["engine"], self.identity["precision"])
        self.summary = Summary.read(path / "summary.json")
        self.success = success_by_seed(read_table(path / "episodes.parquet", ("seed", "success")))

    def difference(self, other: "_StoredRun") -> str | None:
        """The first setting other than the engine that differs, if any."""
        for key, value in self.identity.items():
            if key not in ("engine", "precision", "versions", "hardware") and other.identity.get(key) != value:
                return key
        return None

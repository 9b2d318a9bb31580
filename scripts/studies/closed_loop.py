"""Reads the results of a sampler from finished rollouts, for studies that show success beside cost."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from paradp.policy import DiffusionPolicy
from paradp.policy.files.formats import read_document
from paradp.policy.files.limits import DOCUMENT_BYTES
from paradp.policy.files.tables import read_table
from paradp.rollouts.episodes.summary import settings
from paradp.rollouts.statistics import PairedLoss, paired_loss, wilson
from paradp.sampler import SamplerChoice
from paradp.scripts.rollout import run_folder

LOOP_HEADER = [
    "in closed loop: rounds, evaluations",
    "success (95 %)",
    "lost to ddpm (95 %)",
    "lost to its sequential (95 %)",
]


@dataclass(frozen=True)
class ClosedLoop:
    """Episodes of one sampler.

    Attributes:
        success: seed → whether the episode succeeded.
        rounds, evaluations: means over all plans.
    """

    success: dict[int, bool]
    rounds: float
    evaluations: float


class ClosedLoops:
    """The runs in a folder, written by `paradp rollout --sampler a,b --out FOLDER`.

    Args:
        folder: the folder.
        policy, model_sha256: the policy and the digest of its weights, which must be those of the runs.
    """

    def __init__(self, folder: Path, policy: DiffusionPolicy, model_sha256: str):
        self._folder = folder
        self._policy = policy
        self._model_sha256 = model_sha256

    def find(self, sampler: str) -> ClosedLoop | None:
        """The run of a sampler, if there is one.

        Raises:
            ValueError: the sampler's folder contains a run of another task, policy or sampler.
        """
        choice = SamplerChoice.parse(sampler)
        run = self._folder / run_folder(choice)
        if not (run / "episodes.parquet").exists():
            return None
        self._check(run, choice)
        episodes = read_table(run / "episodes.parquet", ("seed", "success"))
        replans = read_table(run / "steps.parquet", ("replan_rounds", "replan_evaluations")).dropna(subset=["replan_rounds"])
        return ClosedLoop(
            success_by_seed(episodes), float(replans["replan_rounds"].mean()), float(replans["replan_evaluations"].mean())
        )

    def cells(self, sampler: str) -> list[str]:
        """The columns of `LOOP_HEADER`; empty if there is no run."""
        found = self.find(sampler)
        if found is None:
            return ["", "", "", ""]
        cost = f"{found.rounds:.1f}, {found.evaluations:.0f}"
        return [
            cost,
            success_rate(found.success),
            self._lost(found, sampler, "ddpm"),
            self._lost(found, sampler, _own(sampler)),
        ]

    def _lost(self, found: ClosedLoop, sampler: str, baseline: str) -> str:
        other = self.find(baseline)
        if sampler == baseline or other is None:
            return ""
        return describe_loss(paired_loss(other.success, found.success))

    def _check(self, run: Path, choice: SamplerChoice) -> None:
        identity: dict[str, Any] = read_document(run / "run.json", DOCUMENT_BYTES)
        spec = self._policy.spec
        wanted = {
            "task": spec.task,
            "model_sha256": self._model_sha256,
            "sampler": {"name": choice.name, "settings": settings(choice, choice.build(spec.schedule))},
        }
        for key, value in wanted.items():
            if identity.get(key) != value:
                raise ValueError(f"{run} is a run of another {key}: {identity.get(key)}, not {value}")


def success_by_seed(episodes: pd.DataFrame) -> dict[int, bool]:
    """Seed → success, from the table `episodes` of a rollout."""
    return {int(s): bool(ok) for s, ok in zip(episodes["seed"], episodes["success"], strict=True)}


def success_rate(success: dict[int, bool]) -> str:
    """The success rate with Wilson's interval."""
    rate = wilson(sum(success.values()), len(success))
    return f"{rate.mean:.3f} ({rate.ci95[0]:.3f}–{rate.ci95[1]:.3f}), n={len(success)}"


def describe_loss(loss: PairedLoss) -> str:
    """The paired loss with its interval and the one-sided bound."""
    return f"{loss.loss:+.3f} ({loss.ci95[0]:+.3f} to {loss.ci95[1]:+.3f}; one-sided {loss.upper95:+.3f}), n={loss.pairs}"


def _own(sampler: str) -> str:
    """The sequential sampler with the same steps."""
    return str(SamplerChoice.parse(sampler).sequential)

"""What finished rollouts say of a sampler, for the studies that show success beside cost."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from paradp.rollouts.statistics import Estimate, PairedLoss, paired_loss, wilson
from paradp.sampler import SamplerChoice
from paradp.scripts.rollout import run_folder

LOOP_HEADER = ["rounds in closed loop", "success (95 %)", "lost to ddpm, paired (95 % below)"]


@dataclass(frozen=True)
class ClosedLoop:
    """Episodes of one sampler, and of the baseline on the same seeds."""

    episodes: int
    rounds: float
    evaluations: float
    success: Estimate
    loss: PairedLoss

    def cells(self) -> list[str]:
        """The columns of `LOOP_HEADER`."""
        success = f"{self.success.mean:.3f} ({self.success.ci95[0]:.3f}–{self.success.ci95[1]:.3f}), n={self.episodes}"
        return [f"{self.rounds:.1f}", success, f"{self.loss.loss:+.3f} ({self.loss.upper95:+.3f})"]


def closed_loop(runs: Path, sampler: str, baseline: str = "ddpm") -> ClosedLoop | None:
    """The run of a sampler in `runs`, as `paradp rollout --out RUNS` leaves it, on the seeds it shares with the baseline."""
    folders = [runs / run_folder(SamplerChoice.parse(name)) for name in (sampler, baseline)]
    if not all((folder / "episodes.parquet").exists() for folder in folders):
        return None
    own, other = (pd.read_parquet(folder / "episodes.parquet").set_index("seed").sort_index() for folder in folders)
    seeds = own.index.intersection(other.index)
    own, other = own.loc[seeds], other.loc[seeds]
    steps = pd.read_parquet(folders[0] / "steps.parquet")
    replans = steps[steps["replan_rounds"].notna() & steps["seed"].isin(seeds)]
    return ClosedLoop(
        len(own),
        float(replans["replan_rounds"].mean()),
        float(replans["replan_evaluations"].mean()),
        wilson(int(own["success"].sum()), len(own)),
        paired_loss(_successes(other), _successes(own)),
    )


def _successes(episodes: pd.DataFrame) -> dict[int, bool]:
    return {int(seed): bool(success) for seed, success in zip(episodes.index, episodes["success"], strict=True)}


def loop_cells(runs: Path, sampler: str) -> list[str]:
    """The columns of `LOOP_HEADER`, empty where there is no run."""
    found = closed_loop(runs, sampler)
    return found.cells() if found else ["", "", ""]

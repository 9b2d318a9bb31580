"""Measurements of one engine, stored on disk, and the predicted time of a plan."""

import math
import os
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from pydantic import TypeAdapter

from paradp.policy.files.limits import DOCUMENT_BYTES
from paradp.policy.files.reading import read_validated
from paradp.sampler import SamplerChoice
from paradp.sampler.options import MOST_TIMESTEPS

SEQUENTIAL = "ddpm"
# Longest name in a file; the longest ones list timesteps.
_NAME_LENGTH = 4000


@dataclass
class Trial:
    """The rounds of a sampler for some random observations.

    Attributes:
        rounds: rounds for each observation.
        width: mean number of rows per round and environment.
    """

    rounds: list[int]
    width: float


@dataclass
class Planned:
    """The result of autotuning.

    Attributes:
        sampler: the chosen sampler.
        batch: number of environments per batch.
        seconds: sampler → median time of a plan, including sequential DDPM.
        reason: measured fidelity and bounds; empty if it has exactly DDPM's distribution.
    """

    sampler: str
    batch: int
    seconds: dict[str, float]
    reason: str = ""

    def describe(self) -> str:
        """A sentence with the choice, its time, the time of the alternative, and the reason."""
        ms = {name: 1000 * seconds for name, seconds in self.seconds.items()}
        chosen = f"{self.sampler}: {ms[self.sampler]:.1f} ms a plan of {self.batch}"
        others = {name: time for name, time in ms.items() if name != SEQUENTIAL}
        best = min(others, key=others.__getitem__, default=SEQUENTIAL)
        if self.sampler != SEQUENTIAL:
            compared = f"; DDPM one step after another {ms[SEQUENTIAL]:.1f} ms"
        else:
            compared = f"; in parallel {others[best]:.1f} ms at best ({best})" if others else ""
        return chosen + compared + ("; " if self.reason else "") + self.reason


@dataclass
class Profile:
    """The measurements of one engine.

    Attributes:
        seconds: number of rows → time of a call.
        trials: sampler → its rounds.
        planned: candidates and batch → result, for example `auto, batch 4`.
    """

    seconds: dict[int, float] = field(default_factory=dict)
    trials: dict[str, Trial] = field(default_factory=dict)
    planned: dict[str, Planned] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> "Profile":
        """Reads a file; returns an empty profile if it is missing or damaged."""
        try:
            kept = read_validated(path, DOCUMENT_BYTES, _PROFILE)
        except (OSError, ValueError):
            return cls()
        return kept if kept._sound else cls()

    @property
    def _sound(self) -> bool:
        """Whether the values are possible measurements."""
        trials = all(t.rounds and all(1 <= r <= MOST_TIMESTEPS for r in t.rounds) for t in self.trials.values())
        planned = all({p.sampler, SEQUENTIAL} <= p.seconds.keys() for p in self.planned.values())
        seconds = [*self.seconds.items(), *((p.batch, s) for p in self.planned.values() for s in p.seconds.values())]
        names = {*self.trials, *(name for p in self.planned.values() for name in p.seconds)}
        timed = all(rows >= 1 and 0 < taken < math.inf for rows, taken in seconds)
        return trials and planned and timed and all(map(_is_sampler, names))

    def write(self, path: Path) -> None:
        """Writes the file; if that fails, everything is measured again next time."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            partial = path.with_suffix(f".{os.getpid()}.partial")
            partial.write_bytes(_PROFILE.dump_json(self, indent=1))
            partial.replace(path)
        except OSError:
            pass

    def call(self, rows: np.ndarray) -> np.ndarray:
        """Seconds of a call, interpolated between the measured numbers of rows, and proportional beyond them."""
        known = sorted(self.seconds)
        within = np.interp(rows, known, [self.seconds[n] for n in known])
        return within * np.maximum(1, np.asarray(rows) / known[-1])

    def plan(self, sampler: str, batch: int, whole: bool = False) -> float:
        """Predicted seconds of a plan inside the network.

        Args:
            sampler, batch: sampler, and number of environments.
            whole: whether padding rows are computed too, as in captured rounds.
        """
        reached, seconds = self._rounds(sampler, batch, whole)
        return float((reached * seconds).sum())

    def slow_plan(self, sampler: str, batch: int, whole: bool = False) -> float:
        """The same for a plan with the most rounds of any trial, which a control loop must have time for."""
        _, seconds = self._rounds(sampler, batch, whole)
        return float(seconds.sum())

    def least(self, steps: int, windows: tuple[int, ...], batch: int) -> float:
        """Lower bound on the seconds of a plan: every step is evaluated once."""
        return min(float(self.call(np.array(batch * p))) * math.ceil(steps / p) for p in (1, *windows))

    def _rounds(self, sampler: str, batch: int, whole: bool) -> tuple[np.ndarray, np.ndarray]:
        """For each round: the probability that a plan needs it, and its time."""
        trial = self.trials[sampler]
        made = np.array(trial.rounds)[:, None] > np.arange(max(trial.rounds))
        share = made.mean(0)  # share of the environments still running
        reached = 1 - (1 - share) ** batch
        window = dict(SamplerChoice.parse(sampler).options).get("window", 1)
        rows = np.full_like(share, batch * window) if whole else batch * share / reached * trial.width
        return reached, self.call(rows)


def _is_sampler(name: str) -> bool:
    try:
        return len(name) <= _NAME_LENGTH and not SamplerChoice.parse(name).measured
    except ValueError:
        return False


_PROFILE = TypeAdapter(Profile)

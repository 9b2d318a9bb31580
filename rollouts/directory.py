"""A run's directory: what the run is, one file an episode, and nothing written half.

run.json                 what the run is of; a run is only continued as itself
episodes/<seed>.json     each finished episode with its steps
episodes.parquet         one row an episode
steps.parquet            one row a control step
alone.parquet            the same of one robot alone, for its latency; its episodes are in alone/, if there are others
summary.json             the contract with other programs
videos/                  the first episodes, if asked for
"""

import json
import re
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import TypeAdapter

from paradp.policy import PolicySpec, Replan
from paradp.policy.files import write_whole
from paradp.policy.files.limits import DOCUMENT_BYTES, EPISODE_BYTES
from paradp.policy.files.reading import read_object, read_validated
from paradp.rollouts.records import Episode, jerk

_EPISODE = TypeAdapter(Episode)
_SEED = re.compile(r"0|[1-9][0-9]{0,18}")


class RunDirectory:
    """Where a run keeps what it has done.

    Args:
        path: the directory.
    """

    def __init__(self, path: Path):
        self.path = path
        self._episodes = path / "episodes"

    def identity(self) -> dict[str, Any]:
        """Of the run that the directory holds; empty if it holds none that can be read."""
        try:
            return read_object(self.path / "run.json", DOCUMENT_BYTES)
        except (OSError, ValueError):
            return {}

    def open(self, identity: dict[str, Any]) -> None:
        """Starts a run, or continues it.

        Args:
            identity: everything that the numbers depend on.

        Raises:
            ValueError: the directory holds another run, or something else.
        """
        text = json.dumps(identity, indent=2, sort_keys=True) + "\n"
        marker = self.path / "run.json"
        if marker.exists():
            there = read_object(marker, DOCUMENT_BYTES)
            here = json.loads(text)
            if differing := differences(there, here):
                raise ValueError(f"{self.path} holds another run ({differing}); choose another --out")
        elif self.path.exists() and any(not p.name.startswith(".") for p in self.path.iterdir()):
            raise ValueError(f"{self.path} is not empty and holds no run; choose another --out")
        if not marker.exists():
            self.path.mkdir(parents=True, exist_ok=True)
            write_whole(marker, text.encode())
        self._episodes.mkdir(exist_ok=True)

    def add(self, episode: Episode) -> None:
        """Keeps a finished episode."""
        write_whole(self._episodes / f"{episode.seed}.json", _EPISODE.dump_json(episode))

    def seeds(self) -> set[int]:
        """Seeds of the finished episodes; files that are not named by a seed are not ours."""
        names = (path.stem for path in self._episodes.glob("*.json"))
        return {int(name) for name in names if _SEED.fullmatch(name)}

    def episodes(self, seeds: range) -> list[Episode]:
        """The finished episodes of these seeds, in order.

        Raises:
            ValueError: one of their files is damaged, or holds another seed's episode.
        """
        finished = self.seeds()
        return [self._read(self._episodes / f"{seed}.json", seed) for seed in seeds if seed in finished]

    def write_tables(self, episodes: list[Episode], spec: PolicySpec) -> None:
        """Writes `episodes.parquet` and `steps.parquet`."""
        write_parquet(pd.DataFrame([_episode_row(e, spec) for e in episodes]), self.path / "episodes.parquet")
        write_parquet(steps_table(episodes), self.path / "steps.parquet")

    def _read(self, path: Path, seed: int) -> Episode:
        again = "remove it to run that episode again"
        try:
            episode = read_validated(path, EPISODE_BYTES, _EPISODE)
        except (OSError, ValueError) as error:
            raise ValueError(f"{path} is damaged; {again}: {error}") from error
        if episode.seed != seed or not episode.steps:
            found = f"the episode of seed {episode.seed}" if episode.steps else "no control steps"
            raise ValueError(f"{path} holds {found}; {again}")
        return episode


def differences(there: dict[str, Any], here: dict[str, Any]) -> str:
    """In which values what a directory holds differs from what is wanted of it; empty where in none."""
    return "; ".join(f"{k}: {there.get(k)} there, {here[k]} here" for k in here if there.get(k) != here[k])


def write_parquet(table: pd.DataFrame, path: Path) -> None:
    write_whole(path, table.to_parquet(index=False))


def steps_table(episodes: list[Episode]) -> pd.DataFrame:
    """A row a control step."""
    return pd.DataFrame([{"seed": e.seed, **_step_row(asdict(s))} for e in episodes for s in e.steps])


def _episode_row(episode: Episode, spec: PolicySpec) -> dict[str, Any]:
    replans = [s.replan for s in episode.steps if s.replan]
    return {
        "seed": episode.seed,
        "success": episode.success,
        "reward": episode.reward,
        "steps": len(episode.steps),
        "seconds": episode.seconds,
        "replans": len(replans),
        "rounds_mean": sum(r.rounds for r in replans) / max(len(replans), 1),
        "evaluations_mean": sum(r.evaluations for r in replans) / max(len(replans), 1),
        "steps_held": sum(s.held for s in episode.steps),
        "jerk": jerk(episode, spec),
        "disturbed": episode.disturbed,
    }


def _step_row(step: dict[str, Any]) -> dict[str, Any]:
    replan = step.pop("replan") or {}
    return {**step, **{f"replan_{field.name}": replan.get(field.name) for field in fields(Replan)}}

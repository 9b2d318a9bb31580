"""The directory of a run. Every file is written atomically.

run.json                 identity of the run; only a run with the same identity continues it
episodes/<seed>.json     each finished episode with its steps
episodes.parquet         one row per episode
steps.parquet            one row per control step
alone.parquet            control steps of a single robot, which measure latency; their episodes may be in alone/
summary.json             results, for other programs
videos/                  films of the first episodes, if requested
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import TypeAdapter

from paradp.policy import PolicySpec
from paradp.policy.files import OutputLock, refuse_filled, write_whole
from paradp.policy.files.formats import read_document, stamped
from paradp.policy.files.limits import DOCUMENT_BYTES, EPISODE_BYTES
from paradp.policy.files.reading import read_validated
from paradp.policy.files.writing import remove_left_overs
from paradp.policy.identity import check_same
from paradp.policy.wording import counted
from paradp.rollouts.episodes.identity import with_sampler_names
from paradp.rollouts.episodes.plan_record import plan_columns
from paradp.rollouts.episodes.records import Episode, StepRecord, jerk

_EPISODE = TypeAdapter(Episode)
PARTIAL_FILM = ".partial.mp4"  # suffix of an unfinished film
_SEED = re.compile(r"0|[1-9][0-9]{0,18}")


class RunDirectory:
    """Reads and writes the directory of a run.

    Args:
        path: the directory.
    """

    def __init__(self, path: Path):
        self.path = path
        self._episodes = path / "episodes"

    def identity(self) -> dict[str, Any]:
        """The identity of the run in the directory; empty if there is none or it cannot be read."""
        try:
            return read_document(self.path / "run.json", DOCUMENT_BYTES)
        except (OSError, ValueError):
            return {}

    def check(self, identity: dict[str, Any], seeds: range) -> None:
        """Checks that the directory is empty or contains this run.

        Args:
            identity: a `RunIdentity`, converted with `describe`.
            seeds: seeds of all episodes.

        Raises:
            ValueError: the directory contains another run, more episodes, or other files.
        """
        marker = self.path / "run.json"
        if not marker.exists():
            refuse_filled(self.path, "run")
            return
        there = read_document(marker, DOCUMENT_BYTES)
        there, identity = with_sampler_names(there, _recorded(identity, there))
        check_same(there, identity, f"{self.path} holds another run")
        if (last := max(self.seeds(), default=-1)) >= seeds.stop:
            episodes = last + 1 - seeds.start
            raise ValueError(
                f"{self.path} holds a run of {counted(episodes, 'episode')}; their number can only grow:"
                f" give at least {episodes}"
                " or choose another --out"
            )

    def open(self, identity: dict[str, Any], seeds: range) -> OutputLock:
        """Starts or continues a run, and locks the directory. Unfinished files are deleted.

        Args:
            identity, seeds: as in `check`.

        Raises:
            ValueError: as `check`, or another process writes there.
            OSError: the directory cannot be written.
        """
        lock = OutputLock.inside(self.path)
        try:
            self.check(identity, seeds)
            if not (marker := self.path / "run.json").exists():
                write_whole(marker, (json.dumps(stamped(identity), indent=2, sort_keys=True) + "\n").encode())
            self._episodes.mkdir(exist_ok=True)
            remove_left_overs(self._episodes)
            for film in (self.path / "videos").glob(f"*{PARTIAL_FILM}"):
                film.unlink()
        except BaseException:
            lock.release()
            raise
        return lock

    def add(self, episode: Episode) -> None:
        """Writes a finished episode."""
        write_whole(self._episodes / f"{episode.seed}.json", _EPISODE.dump_json(episode))

    def seeds(self) -> set[int]:
        """Seeds of the finished episodes; files with other names are ignored."""
        names = (path.stem for path in self._episodes.glob("*.json"))
        return {int(name) for name in names if _SEED.fullmatch(name)}

    def episodes(self, seeds: range) -> list[Episode]:
        """Reads the episodes with these seeds, in order.

        Raises:
            ValueError: a file is damaged, or contains an episode with another seed.
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
        if len({len(step.action) for step in episode.steps}) > 1:
            raise ValueError(f"{path} holds actions of different lengths; {again}")
        return episode


def _recorded(identity: dict[str, Any], there: Mapping[str, Any]) -> dict[str, Any]:
    """An identity with only those package versions that the run in the directory has: older ones noted fewer packages."""
    noted = there.get("versions")
    if not isinstance(noted, Mapping):
        return identity
    return identity | {"versions": {name: number for name, number in identity["versions"].items() if name in noted}}


def write_parquet(table: pd.DataFrame, path: Path) -> None:
    """Writes a table atomically as parquet."""
    write_whole(path, table.to_parquet(index=False))


def steps_table(episodes: list[Episode]) -> pd.DataFrame:
    """One row per control step."""
    return pd.DataFrame([{"seed": e.seed, **_step_row(s)} for e in episodes for s in e.steps])


def _episode_row(episode: Episode, spec: PolicySpec) -> dict[str, Any]:
    plans = [s.replan.stats for s in episode.steps if s.replan]
    return {
        "seed": episode.seed,
        "success": episode.success,
        "reward": episode.reward,
        "steps": len(episode.steps),
        "seconds": episode.seconds,
        "replans": len(plans),
        "rounds_mean": sum(plan.rounds for plan in plans) / max(len(plans), 1),
        "evaluations_mean": sum(plan.evaluations for plan in plans) / max(len(plans), 1),
        "steps_held": sum(s.held for s in episode.steps),
        "jerk": jerk(episode, spec),
        "disturbed": episode.disturbed,
    }


def _step_row(step: StepRecord) -> dict[str, Any]:
    row = vars(step).copy()
    return row | plan_columns(row.pop("replan"))

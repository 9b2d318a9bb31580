"""Finds the episodes of a LeRobotDataset: their frames in which files, and their start in which videos."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from paradp.bridges.lerobot_data import layout
from paradp.bridges.lerobot_data.description import Description
from paradp.policy.files.columns import read_columns
from paradp.policy.files.limits import MOST_EPISODES, MOST_FILES

# Columns of the episodes' table.
_BEGIN, _END = "dataset_from_index", "dataset_to_index"
_FILE = ("chunk_index", "file_index")


@dataclass(frozen=True)
class EpisodePlace:
    """The files and frames of one episode.

    Attributes:
        index: its number.
        begin, end: the range of its frames, counted over the whole data set.
        data: the file with its frames.
        videos: for each key, the file, and the episode's start in it, in seconds.
    """

    index: int
    begin: int
    end: int
    data: Path
    videos: dict[str, tuple[Path, float]]


def read_episodes(described: Description) -> list[EpisodePlace]:
    """Finds all episodes, in order.

    Raises:
        ValueError: a table is missing, damaged, or lacks a column; or the episodes are not in order, have gaps between them,
            or do not match the numbers in `info.json`.
        OSError: a file cannot be read.
    """
    folder = described.folder
    videos = [key for key, feature in described.features.items() if feature.kind == "video"]
    needed = ["episode_index", _BEGIN, _END, *(f"data/{name}" for name in _FILE)]
    needed += [f"videos/{key}/{name}" for key in videos for name in (*_FILE, "from_timestamp")]
    files = sorted((folder / "meta" / "episodes").glob("chunk-*/file-*.parquet"))[: MOST_FILES + 1]
    if not 1 <= len(files) <= MOST_FILES:
        raise ValueError(f"{folder / 'meta' / 'episodes'} holds {'no' if not files else 'too many'} tables of episodes")
    tables = [read_columns(file, needed) for file in files]
    table = {name: np.concatenate([one[name] for one in tables]) for name in needed}
    _check(described, table)
    return [
        _place(folder, {name: column[i].item() for name, column in table.items()}, videos) for i in range(described.episodes)
    ]


def _check(described: Description, table: dict[str, np.ndarray]) -> None:
    folder, found = described.folder, table["episode_index"]
    if any(
        column.ndim > 1 or (not name.endswith("timestamp") and column.dtype.kind != "i") for name, column in table.items()
    ):
        raise ValueError(f"{folder}: the tables of its episodes hold other numbers than indices")
    if len(found) != described.episodes or len(found) > MOST_EPISODES:
        raise ValueError(f"{folder} holds {len(found)} episodes, and {layout.INFO} says {described.episodes}")
    if (disordered := np.flatnonzero(found != np.arange(len(found)))).size:
        at = int(disordered[0])
        raise ValueError(f"{folder}: its episodes are out of order: number {found[at]} stands in the place of {at}")
    begins, ends = table[_BEGIN], table[_END]
    expected = np.concatenate([[0], ends[:-1]])
    if (wrong := np.flatnonzero((begins != expected) | (ends <= begins))).size:
        at = int(wrong[0])
        raise ValueError(
            f"{folder}: episode {at} has the frames from {begins[at]} to {ends[at]}, and should begin with {expected[at]}"
        )
    if ends[-1] != described.frames:
        raise ValueError(f"{folder}: its episodes have {ends[-1]} frames, and {layout.INFO} says {described.frames}")


def _place(folder: Path, row: dict[str, float], videos: list[str]) -> EpisodePlace:
    def file(pattern: str, prefix: str, **names: str) -> Path:
        chunk, number = (int(row[f"{prefix}/{name}"]) for name in _FILE)
        return folder / pattern.format(chunk_index=chunk, file_index=number, **names)

    begin, end = int(row[_BEGIN]), int(row[_END])
    seen = {
        key: (file(layout.VIDEOS, f"videos/{key}", video_key=key), float(row[f"videos/{key}/from_timestamp"]))
        for key in videos
    }
    return EpisodePlace(int(row["episode_index"]), begin, end, file(layout.DATA, "data"), seen)

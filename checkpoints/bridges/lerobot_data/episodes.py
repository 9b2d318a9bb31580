"""Finds the episodes of a LeRobotDataset: the frames of each in its file, and where it begins in its videos."""

import io
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from paradp.bridges.lerobot_data import layout
from paradp.bridges.lerobot_data.description import Description
from paradp.policy.errors import described as said
from paradp.policy.files.columns import read_columns
from paradp.policy.files.limits import FRAMES_FOOTER_BYTES, MOST_EPISODES, MOST_FILES
from paradp.policy.files.reading import parse_json, read_bytes

# Columns of the episodes' table.
_BEGIN, _END = "dataset_from_index", "dataset_to_index"
_FILE = ("chunk_index", "file_index")
_LATEST = 10**9  # seconds into a video


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
    if described.version in layout.OLD:
        return _old_episodes(described, videos)
    needed = ["episode_index", _BEGIN, _END, *(f"data/{name}" for name in _FILE)]
    needed += [f"videos/{key}/{name}" for key in videos for name in (*_FILE, "from_timestamp")]
    files = sorted((folder / "meta" / "episodes").glob("chunk-*/file-*.parquet"))[: MOST_FILES + 1]
    if not 1 <= len(files) <= MOST_FILES:
        raise ValueError(f"{folder / 'meta' / 'episodes'} holds {'no' if not files else 'too many'} tables of episodes")
    tables = [read_columns(file, needed, folder) for file in files]
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
    for name in (name for name in table if name.endswith("/from_timestamp")):
        if (wrong := np.flatnonzero(~((table[name] >= 0) & (table[name] <= _LATEST)))).size:
            at = int(wrong[0])
            raise ValueError(f"{folder}: episode {at} begins {table[name][at]} seconds into its video: {name:.100}")
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


def _old_episodes(described: Description, videos: list[str]) -> list[EpisodePlace]:
    """Finds the episodes of versions 2.0 and 2.1, which have one file and one video per episode."""
    folder, lengths = described.folder, _old_lengths(described)
    places = []
    for index, (length, end) in enumerate(zip(lengths, np.cumsum(lengths).tolist(), strict=True)):
        numbers = {"episode_chunk": index // described.episodes_a_chunk, "episode_index": index}
        seen = {key: (folder / layout.OLD_VIDEOS.format(video_key=key, **numbers), 0.0) for key in videos}
        places.append(EpisodePlace(index, end - length, end, folder / layout.OLD_DATA.format(**numbers), seen))
    return places


def _old_lengths(described: Description) -> list[int]:
    path, lengths = described.folder / layout.OLD_EPISODES, []
    # Split bytes, where only \n ends a line: in text, so do other characters, which an instruction may contain.
    lines = io.BytesIO(read_bytes(path, FRAMES_FOOTER_BYTES, root=described.folder))
    for number, line in enumerate(islice(lines, MOST_EPISODES + 1)):
        try:
            row = parse_json(line)
            if row["episode_index"] != number or type(row["length"]) is not int or row["length"] < 1:
                raise ValueError("the episode is out of order, or has no length")
            lengths.append(row["length"])
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{path} cannot be read: line {number + 1}: {said(error)}") from error
    if len(lengths) != described.episodes or len(lengths) > MOST_EPISODES or sum(lengths) != described.frames:
        raise ValueError(
            f"{path} lists {len(lengths)} episodes with {sum(lengths)} frames, and {layout.INFO} says {described.episodes}"
            f" with {described.frames}"
        )
    return lengths

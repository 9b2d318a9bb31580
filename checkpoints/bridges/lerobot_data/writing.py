"""Writes a LeRobotDataset v3: first to a temporary folder, which is renamed when it is complete."""

import json
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from paradp.bridges.facts import FILE
from paradp.bridges.lerobot_data import layout
from paradp.bridges.lerobot_data.columns import Columns
from paradp.bridges.lerobot_data.layout import ACTION, place
from paradp.bridges.lerobot_data.statistics import Statistics, counted_levels, of_images, of_vectors, written
from paradp.bridges.lerobot_data.tables import TableFile, frame_schema, frame_table, write_rows, write_tasks
from paradp.policy.data.dataset import Dataset, step_count
from paradp.policy.data.episode import DemonstrationInfo
from paradp.policy.files.folders import new_folder
from paradp.policy.files.writing import naming_file


def export_lerobot(
    dataset: Dataset,
    out: Path,
    state: Collection[str] = (),
    instruction: str | None = None,
    on_episode: Callable[[int], None] = lambda done: None,
) -> Columns:
    """Writes demonstrations as a LeRobotDataset v3, with images as PNG and a `paradp.yaml` of facts that its files lack.

    Policies that LeRobot trains on it run in paradp with a copy of that `paradp.yaml` beside their weights.

    Args:
        dataset: the demonstrations.
        out: the folder to make.
        state: keys of the robot's state, see `Columns.of`.
        instruction: the task in words; by default the task's name.
        on_episode: called with the number of written episodes.

    Returns:
        The mapping of observations and actions to LeRobot's features.

    Raises:
        ValueError: there are no episodes, `out` exists, or a number is not finite; see also `Columns.of`.
        OSError: it cannot be written, for example on a full disk; nothing is left at `out`.
    """
    columns = Columns.of(dataset.info.observation, dataset.info.action, state)
    if not len(dataset.episode_ends):
        raise ValueError(f"{dataset.path} holds no episodes")
    with new_folder(out) as folder:
        _Writer(dataset, folder, columns, instruction or dataset.info.task).write(on_episode)
    return columns


class _Writer:
    def __init__(self, dataset: Dataset, folder: Path, columns: Columns, instruction: str):
        self._info, self._folder, self._columns, self._instruction = dataset.info, folder, columns, instruction
        self._ends, self._steps = dataset.episode_ends, step_count(dataset)
        arrays = dataset.observations()
        action = dataset.actions()
        self._vectors = {key: columns.side_by_side(key, arrays) for key in columns.vectors if key != ACTION}
        self._vectors[ACTION] = action
        for key, values in self._vectors.items():
            if not np.isfinite(values).all():
                raise ValueError(f"{dataset.path}: {key} holds numbers that are not finite")
        self._images = {key: arrays[name] for key, name in columns.images.items()}
        self._levels = {key: np.zeros((shape[-1], 256), np.int64) for key, shape in columns.shapes.items()}

    def write(self, on_episode: Callable[[int], None]) -> None:
        episodes = self._write_frames(on_episode)
        write_rows(self._folder / place(layout.EPISODES, 0), episodes)
        write_tasks(self._folder / layout.TASKS, [self._instruction])
        statistics = {key: of_vectors(values) for key, values in self._vectors.items()}
        statistics |= {key: of_images(levels, self._steps) for key, levels in self._levels.items()}
        self._write_text(layout.STATS, json.dumps(written(statistics), indent=4))
        self._write_text(FILE, yaml.safe_dump(_facts(self._info, self._columns), sort_keys=False, default_flow_style=None))
        # Written last: without this file a folder is not a data set.
        self._write_text(layout.INFO, json.dumps(self._description(), indent=4))

    def _write_frames(self, on_episode: Callable[[int], None]) -> list[dict[str, Any]]:
        schema, files, rows = frame_schema(self._columns), 0, []
        starts = np.concatenate([[0], self._ends[:-1]])
        episode = 0
        while episode < len(self._ends):
            with TableFile(self._folder / place(layout.DATA, files), schema) as file:
                while episode < len(self._ends) and file.bytes < layout.DATA_MB * 2**20:
                    start, end = int(starts[episode]), int(self._ends[episode])
                    images = {key: frames[start:end] for key, frames in self._images.items()}
                    vectors = {key: values[start:end] for key, values in self._vectors.items()}
                    file.add(frame_table(schema, vectors | self._counters(episode, start, end), images))
                    rows.append(self._row(episode, start, end, files) | self._statistics(vectors, images))
                    episode += 1
                    on_episode(episode)
            files += 1
        return rows

    def _counters(self, episode: int, start: int, end: int) -> dict[str, np.ndarray]:
        frame = np.arange(end - start)
        return {
            "timestamp": (frame / self._info.control_hz).astype(np.float32),
            "frame_index": frame,
            "episode_index": np.full(len(frame), episode),
            "index": np.arange(start, end),
            "task_index": np.zeros(len(frame), np.int64),
        }

    def _row(self, episode: int, start: int, end: int, file: int) -> dict[str, Any]:
        return {
            "episode_index": episode,
            "tasks": [self._instruction],
            "length": end - start,
            "data/chunk_index": file // layout.FILES_A_CHUNK,
            "data/file_index": file % layout.FILES_A_CHUNK,
            "dataset_from_index": start,
            "dataset_to_index": end,
            "meta/episodes/chunk_index": 0,
            "meta/episodes/file_index": 0,
        }

    def _statistics(self, vectors: dict[str, np.ndarray], images: dict[str, np.ndarray]) -> dict[str, Any]:
        """Returns the statistics of an episode, one column for each."""
        found: dict[str, Statistics] = {key: of_vectors(values) for key, values in vectors.items()}
        for key, frames in images.items():
            levels = counted_levels(frames)
            self._levels[key] += levels
            found[key] = of_images(levels, len(frames))
        return {f"stats/{key}/{name}": value for key, one in written(found).items() for name, value in one.items()}

    def _description(self) -> dict[str, Any]:
        return {
            "codebase_version": layout.VERSION,
            "fps": self._info.control_hz,
            "features": self._columns.features(),
            "total_episodes": len(self._ends),
            "total_frames": self._steps,
            "total_tasks": 1,
            "chunks_size": layout.FILES_A_CHUNK,
            "data_files_size_in_mb": layout.DATA_MB,
            "video_files_size_in_mb": layout.VIDEO_MB,
            "data_path": layout.DATA,
            "video_path": None,
            "robot_type": None,
            "splits": {"train": f"0:{len(self._ends)}"},
        }

    def _write_text(self, name: str, text: str) -> None:
        path = self._folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with naming_file(path):
            path.write_text(text + "\n" * (not text.endswith("\n")))


def _facts(info: DemonstrationInfo, columns: Columns) -> dict[str, Any]:
    """Returns the facts that a checkpoint trained on this data set lacks, see `paradp.bridges.Facts`."""
    return {
        "task": info.task,
        "control_hz": info.control_hz,
        "action_low": list(info.action_low),
        "action_high": list(info.action_high),
        "action_convention": info.action_convention,
        "controller": dict(info.controller),
        "observation": columns.observed(),
        "action": dict(info.action),
    }

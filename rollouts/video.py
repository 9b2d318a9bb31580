"""A subscriber that films episodes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import imageio.v2 as imageio
import numpy as np

from paradp.rollouts.records import Episode, StepRecord


class VideoRecorder:
    """Writes `<seed>-success.mp4` or `<seed>-failure.mp4` for the given seeds, at the control rate.

    Args:
        directory: where the films go.
        seeds: which episodes are filmed.
        fps: frames a second; the control rate makes the film real time.
    """

    def __init__(self, directory: Path, seeds: set[int], fps: int):
        self._directory = directory
        self._seeds = seeds
        self._fps = fps
        self._writers: dict[int, Any] = {}

    def on_step(self, seed: int, record: StepRecord, render: Callable[[], np.ndarray]) -> None:
        if seed not in self._seeds:
            return
        if seed not in self._writers:
            self._directory.mkdir(parents=True, exist_ok=True)
            self._writers[seed] = imageio.get_writer(self._path(seed, ".partial"), fps=self._fps, macro_block_size=8)
        self._writers[seed].append_data(render())

    def on_episode(self, episode: Episode) -> None:
        if writer := self._writers.pop(episode.seed, None):
            writer.close()
            ending = "-success" if episode.success else "-failure"
            self._path(episode.seed, ".partial").replace(self._path(episode.seed, ending))

    def _path(self, seed: int, ending: str) -> Path:
        return self._directory / f"{seed}{ending}.mp4"

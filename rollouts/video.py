"""A subscriber that films episodes."""

from collections.abc import Callable
from pathlib import Path

import av
import numpy as np

from paradp.rollouts.records import Episode, StepRecord


class Film:
    """An mp4 that is being written (H.264, read by browsers and slides), by FFmpeg in this process.

    imageio would start a process of FFmpeg's own by a fork that copies the address space (it sets a `preexec_fn`), and
    Linux refuses to copy more than the machine has memory: each of twenty simulators reserves over a gigabyte.

    Args:
        path: where.
        fps: frames a second.
    """

    def __init__(self, path: Path, fps: int):
        self._container = av.open(str(path), "w")
        self._stream = self._container.add_stream("libx264", rate=fps)
        self._stream.pix_fmt = "yuv420p"

    def add(self, frame: np.ndarray) -> None:
        """One frame: RGB, `[height, width, 3]` uint8, all of one size.

        Raises:
            OSError: it cannot be written; the message says why and where.
        """
        even = np.pad(frame, [(0, frame.shape[0] % 2), (0, frame.shape[1] % 2), (0, 0)], "edge")  # colour is halved
        if not self._stream.codec_context.is_open:
            self._stream.height, self._stream.width = even.shape[:2]
        self._container.mux(self._stream.encode(av.VideoFrame.from_ndarray(even, format="rgb24")))

    def close(self) -> None:
        """Writes what is left.

        Raises:
            OSError: as `add`.
        """
        with self._container:
            self._container.mux(self._stream.encode())


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
        self._films: dict[int, Film] = {}

    def on_step(self, seed: int, record: StepRecord, render: Callable[[], np.ndarray]) -> None:
        if seed not in self._seeds:
            return
        if seed not in self._films:
            self._directory.mkdir(parents=True, exist_ok=True)
            self._films[seed] = Film(self._path(seed, ".partial"), self._fps)
        self._films[seed].add(render())

    def on_episode(self, episode: Episode) -> None:
        if film := self._films.pop(episode.seed, None):
            film.close()
            ending = "-success" if episode.success else "-failure"
            self._path(episode.seed, ".partial").replace(self._path(episode.seed, ending))

    def _path(self, seed: int, ending: str) -> Path:
        return self._directory / f"{seed}{ending}.mp4"

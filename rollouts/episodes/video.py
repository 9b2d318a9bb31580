"""A subscriber that records videos of episodes, and a function that joins videos side by side."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import av
import numpy as np

from paradp.policy.files.writing import file_place
from paradp.rollouts.episodes.captions import Caption, Captions
from paradp.rollouts.episodes.directory import PARTIAL_FILM
from paradp.rollouts.episodes.records import Episode, StepRecord

# Largest width of joined videos in pixels; wider ones are scaled down.
WIDEST = 2560


class VideoFile:
    """An mp4 that is being written (H.264, read by browsers and slides), by FFmpeg in this process.

    imageio would start a process of FFmpeg's own by a fork that copies the address space (it sets a `preexec_fn`), and
    Linux refuses to copy more than the machine has memory: each of twenty simulators reserves over a gigabyte.

    Args:
        path: the file.
        fps: frames per second.
    """

    def __init__(self, path: Path, fps: int):
        self._container = av.open(str(path), "w")
        self._stream = self._container.add_stream("libx264", rate=fps)
        self._stream.pix_fmt = "yuv420p"

    def add(self, frame: np.ndarray) -> None:
        """Appends a frame: RGB, `[height, width, 3]` uint8, of the same size as the others.

        Raises:
            OSError: it cannot be written; the message names the file and the reason.
        """
        even = np.pad(frame, [(0, frame.shape[0] % 2), (0, frame.shape[1] % 2), (0, 0)], "edge")  # for half-size colour
        if not self._stream.codec_context.is_open:
            self._stream.height, self._stream.width = even.shape[:2]
        self._container.mux(self._stream.encode(av.VideoFrame.from_ndarray(even, format="rgb24")))

    def close(self) -> None:
        """Writes the remaining frames and closes the file.

        Raises:
            OSError: as `add`.
        """
        with self._container:
            self._container.mux(self._stream.encode())


class VideoRecorder:
    """Writes `<seed>-success.mp4` or `<seed>-failure.mp4` for the given seeds, at the control rate.

    Frames show the sampler, the last plan's latency, the progress of its chunk, and at the end the outcome.

    Args:
        directory: the directory for the videos.
        seeds: seeds of the episodes to record.
        fps: frames per second; with the control rate the video plays in real time.
        caption: text on the frames beside the seed.
    """

    def __init__(self, directory: Path, seeds: set[int], fps: int, caption: Caption | None = None):
        self._directory = directory
        self._seeds = seeds
        self._fps = fps
        self._caption = caption or Caption(control_hz=fps)
        self._films: dict[int, _Filming] = {}

    def on_step(self, seed: int, record: StepRecord, render: Callable[[], np.ndarray]) -> None:
        if seed not in self._seeds:
            return
        if seed not in self._films:
            self._directory.mkdir(parents=True, exist_ok=True)
            self._films[seed] = _Filming(VideoFile(self._partial(seed), self._fps), Captions(self._caption, seed))
        self._films[seed].step(render(), record)

    def on_episode(self, episode: Episode) -> None:
        if filming := self._films.pop(episode.seed, None):
            filming.end(episode.success)
            ending = "success" if episode.success else "failure"
            self._partial(episode.seed).replace(file_place(self._directory / f"{episode.seed}-{ending}.mp4"))

    def _partial(self, seed: int) -> Path:
        return self._directory / f"{seed}{PARTIAL_FILM}"


class _Filming:
    """An episode that is being recorded. Its latest frame is held back, because the last one shows the outcome."""

    def __init__(self, film: VideoFile, captions: Captions):
        self._film = film
        self._captions = captions
        self._last: np.ndarray | None = None

    def step(self, frame: np.ndarray, record: StepRecord) -> None:
        if self._last is not None:
            self._film.add(self._last)
        self._last = self._captions.draw(np.asarray(frame), record)

    def end(self, success: bool) -> None:
        assert self._last is not None
        self._film.add(self._captions.end(self._last, success))
        self._film.close()


def film_of(directory: Path, seed: int) -> Path | None:
    """Returns the video of an episode that `VideoRecorder` wrote, the newest if there are two."""
    return max(directory.glob(f"{seed}-*.mp4"), key=lambda path: path.stat().st_mtime, default=None)


def side_by_side(films: Sequence[Path], path: Path) -> None:
    """Joins videos into one that plays them at the same time; a shorter one holds its last frame.

    Up to four are in one row, more in several rows. The result is scaled down to a width of at most `WIDEST`.

    Raises:
        ValueError: there is no video.
        OSError: a video cannot be read, or the new one cannot be written.
    """
    if not films:
        raise ValueError("there is no film to show")
    columns = len(films) if len(films) <= 4 else math.ceil(math.sqrt(len(films)))
    place = file_place(path)
    partial = place.with_suffix(PARTIAL_FILM)
    with ExitStack() as stack:
        opened = [stack.enter_context(av.open(str(film))) for film in films]
        rate = opened[0].streams.video[0].average_rate
        whole = VideoFile(partial, round(float(rate or 20)))
        size = (opened[0].streams.video[0].width, opened[0].streams.video[0].height)
        shrink = max(1.0, columns * size[0] / WIDEST)
        pane = (round(size[0] / shrink), round(size[1] / shrink))
        for panes in _together([_frames(container, pane) for container in opened]):
            panes += [np.zeros_like(panes[0])] * (-len(panes) % columns)
            rows = [np.concatenate(panes[i : i + columns], axis=1) for i in range(0, len(panes), columns)]
            whole.add(np.concatenate(rows, axis=0))
        whole.close()
    partial.replace(place)


def _frames(container: av.container.InputContainer, size: tuple[int, int]) -> Iterator[np.ndarray]:
    for frame in container.decode(video=0):
        yield frame.to_ndarray(format="rgb24", width=size[0], height=size[1])


def _together(films: Sequence[Iterator[np.ndarray]]) -> Iterator[list[np.ndarray]]:
    """Yields a frame of each video until all have ended; one that has ended repeats its last."""
    shown = [next(film, None) for film in films]
    while True:
        yield [frame for frame in shown if frame is not None]
        following = [next(film, None) for film in films]
        if all(frame is None for frame in following):
            return
        shown = [new if new is not None else old for new, old in zip(following, shown, strict=True)]

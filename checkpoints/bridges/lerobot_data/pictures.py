"""Reads the images of a LeRobotDataset from videos; `policy/files/pictures.py` reads those in table cells."""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from paradp.policy.files.limits import VIDEO_BYTES
from paradp.policy.files.reading import open_regular

if TYPE_CHECKING:
    from av.video.frame import VideoFrame

# Tolerance of a frame's time, in frames: rounding errors are far smaller, errors of another frame rate soon larger.
TOLERANCE = 0.25


class Video:
    """A video that is read forward; it seeks back only if an episode starts before the current frame.

    Args:
        path: the file.
        shape: height, width and channels.
        fps: frames per second.
        root: the data set's folder, which the file must lie in.

    Raises:
        ValueError: the video cannot be read, or its images have another size.
        OSError: the file is missing or cannot be read.
    """

    def __init__(self, path: Path, shape: tuple[int, ...], fps: int, root: Path):
        import av

        self.path, self._shape, self._fps = path, shape, fps
        with open_regular(path, VIDEO_BYTES, root=root):
            pass
        try:
            self._container = av.open(str(path), format="mp4")
            self._stream = self._container.streams.video[0]
        except (av.FFmpegError, IndexError, ValueError) as error:
            raise ValueError(f"{path} is not a readable video: {error}") from error
        self._tick = Fraction(self._stream.time_base or 0)  # without a time base, frames have no times
        found = self._stream.codec_context.height, self._stream.codec_context.width
        if found != shape[:2]:
            self._container.close()
            raise ValueError(f"{path} is {found[1]} × {found[0]} pixels, and should be {shape[1]} × {shape[0]}")
        self._next: Iterator[VideoFrame] = iter(())
        self._passed: float | None = None

    def fill(self, begin: float, out: np.ndarray) -> None:
        """Decodes the frames from a time on, in seconds, into an array `[count, height, width, channels]`.

        Raises:
            ValueError: a frame is missing at its time, or cannot be decoded.
        """
        import av

        try:
            # Half a frame of margin: when the last frame is requested again, its time may be rounded up. Up to one second of
            # frames in between is decoded and dropped; for more, seek.
            if self._passed is None or not self._passed + 0.5 / self._fps < begin < self._passed + 1:
                self._seek(begin)
            for i in range(len(out)):
                out[i] = self._at(begin + i / self._fps)
        except (av.FFmpegError, ValueError) as error:
            raise ValueError(f"{self.path} cannot be read: {error}") from error

    def close(self) -> None:
        """Closes the file."""
        self._container.close()

    def _seek(self, begin: float) -> None:
        # Half a frame earlier, because a key frame at that time may have a time rounded up.
        place = max(Fraction(begin) - Fraction(1, 2 * self._fps), Fraction(0)) / (self._tick or 1)
        self._container.seek(int(place), stream=self._stream, backward=True)
        self._next = self._container.decode(self._stream)

    def _at(self, when: float) -> np.ndarray:
        margin = TOLERANCE / self._fps
        for frame in self._next:
            shown = float((frame.pts or 0) * self._tick)
            if shown < when - margin:
                continue
            self._passed = shown
            if shown > when + margin:
                raise ValueError(f"it has no frame at {when:.3f} s, and the next at {shown:.3f} s")
            values: np.ndarray = frame.to_ndarray(format="gray" if self._shape[-1] == 1 else "rgb24")
            return values.reshape(self._shape)
        raise ValueError(f"it ends before {when:.3f} s")

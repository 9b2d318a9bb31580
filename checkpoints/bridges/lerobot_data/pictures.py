"""Pictures of a LeRobotDataset: from PNG or JPEG in a table's cells, and from videos."""

import io
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from paradp.policy.files.limits import VIDEO_BYTES
from paradp.policy.files.reading import open_regular

if TYPE_CHECKING:
    from av.video.frame import VideoFrame

# A frame may be so far from its time, in frames: rounding is far less, and another rate soon more.
TOLERANCE = 0.25


def decoded(content: bytes, shape: tuple[int, ...]) -> np.ndarray:
    """A picture as uint8 `[height, width, channels]`.

    Raises:
        ValueError: it is neither PNG nor JPEG, damaged, or of another size; the size is compared before it is decoded.
    """
    from PIL import Image, UnidentifiedImageError

    height, width, channels = shape
    try:
        with Image.open(io.BytesIO(content), formats=("PNG", "JPEG")) as picture:
            if picture.size != (width, height):
                raise ValueError(f"it is {picture.size[0]} × {picture.size[1]} pixels, not {width} × {height}")
            if picture.mode not in ("L", "RGB"):
                raise ValueError(f"its pixels are {picture.mode}; L and RGB are read")
            values = np.asarray(picture.convert("L" if channels == 1 else "RGB"))
    except (UnidentifiedImageError, OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"it is no picture that can be read: {error}") from error
    return values.reshape(shape)


class Video:
    """A video, read forward: frames that were passed are sought again only where an episode begins before them.

    Args:
        path: the file.
        shape: height, width and channels.
        fps: frames a second.

    Raises:
        ValueError: it is no video that can be read, or of another size.
        OSError: it is not there or may not be read.
    """

    def __init__(self, path: Path, shape: tuple[int, ...], fps: int):
        import av

        self.path, self._shape, self._fps = path, shape, fps
        with open_regular(path, VIDEO_BYTES):
            pass
        try:
            self._container = av.open(str(path), format="mp4")
            self._stream = self._container.streams.video[0]
        except (av.FFmpegError, IndexError, ValueError) as error:
            raise ValueError(f"{path} is no video that can be read: {error}") from error
        self._tick = Fraction(self._stream.time_base or 0)  # a stream without a unit of time has no frames to be found
        found = self._stream.codec_context.height, self._stream.codec_context.width
        if found != shape[:2]:
            self._container.close()
            raise ValueError(f"{path} is {found[1]} × {found[0]} pixels, and should be {shape[1]} × {shape[0]}")
        self._next: Iterator[VideoFrame] = iter(())
        self._passed: float | None = None

    def fill(self, begin: float, out: np.ndarray) -> None:
        """Decodes the frames from a time on, in seconds, into an array `[count, height, width, channels]`.

        Raises:
            ValueError: there is no frame at a time where one should be, or one cannot be decoded.
        """
        import av

        try:
            # Half a frame: the last frame, asked for again, may by rounding lie behind itself. Frames in between are decoded
            # and dropped, unless a second or more of them would be.
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
        # Half a frame before: a key frame that begins at the very time may lie a rounding behind it.
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

"""Reads the images of a LeRobotDataset by frame, from table cells and from videos."""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from paradp.bridges.lerobot_data.description import Stored
from paradp.bridges.lerobot_data.episodes import EpisodePlace
from paradp.bridges.lerobot_data.pictures import Video
from paradp.policy.files.columns import Cells
from paradp.policy.files.pictures import decoded


class LeRobotImages:
    """Reads images by frame: an `ImageSource`. Files are opened when they are needed, one for each camera.

    Args:
        folder: the data set's folder.
        places: the episodes.
        features: LeRobot's key of each camera → the storage of its images.
        names: LeRobot's key → our name.
        fps: frames per second.

    Attributes:
        shapes: height, width and channels by our name.
    """

    def __init__(
        self,
        folder: Path,
        places: Sequence[EpisodePlace],
        features: Mapping[str, Stored],
        names: Mapping[str, str],
        fps: int,
    ):
        self._folder = folder
        self._places, self._features, self._names, self._fps = list(places), dict(features), dict(names), fps
        self._begins = [place.begin for place in self._places]
        # Index of the first frame in each file of frames.
        self._files: dict[Path, int] = {}
        for place in self._places:
            self._files.setdefault(place.data, place.begin)
        self.shapes = {names[key]: feature.shape for key, feature in features.items()}
        self._opened: dict[str, Video | Cells] = {}

    def fill(self, begin: int, end: int, out: Mapping[str, np.ndarray]) -> None:
        """Reads the frames from `begin` to `end` into arrays `[end - begin, height, width, channels]`, by our names.

        Raises:
            ValueError: a frame is missing, damaged or of another size; the message names the file and the frame.
            OSError: a file is missing or cannot be read.
        """
        at = begin
        while at < end:
            place = self._places[bisect_right(self._begins, at) - 1]
            until = min(end, place.end)
            for key, feature in self._features.items():
                if (name := self._names[key]) in out:
                    self._fill(key, feature, place, at, out[name][at - begin : until - begin])
            at = until

    def close(self) -> None:
        """Closes the files; they are opened again when they are needed."""
        for file in self._opened.values():
            file.close()
        self._opened.clear()

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_opened": {}}

    def _fill(self, key: str, feature: Stored, place: EpisodePlace, begin: int, out: np.ndarray) -> None:
        if feature.kind == "video":
            path, start = place.videos[key]
            video = self._current(key, path)
            assert isinstance(video, Video)
            video.fill(start + (begin - place.begin) / self._fps, out)
            return
        cells = self._current(key, place.data)
        assert isinstance(cells, Cells)
        row = begin - self._files[place.data]
        for i, content in enumerate(cells.read(row, row + len(out))):
            try:
                out[i] = decoded(content, feature.shape)
            except ValueError as error:
                frame = begin - place.begin + i
                raise ValueError(f"{place.data}: {key} in frame {frame} of episode {place.index}: {error}") from error

    def _current(self, key: str, path: Path) -> Video | Cells:
        """The current file of a camera: stays open until the camera's frames continue in another file."""
        if key not in self._opened or self._opened[key].path != path:
            if key in self._opened:
                self._opened.pop(key).close()
            feature = self._features[key]
            self._opened[key] = (
                Video(path, feature.shape, self._fps, self._folder)
                if feature.kind == "video"
                else Cells(path, key, self._folder)
            )
        return self._opened[key]

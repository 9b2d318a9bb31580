"""Reads the frames of a LeRobotDataset v3, episode by episode, under our names; executes no code from it."""

from collections.abc import Iterator, Mapping
from functools import cached_property
from itertools import groupby
from pathlib import Path

import numpy as np

from paradp.bridges.facts import FILE, Facts, read_facts
from paradp.bridges.lerobot_data.description import Description, Stored
from paradp.bridges.lerobot_data.episodes import EpisodePlace, read_episodes
from paradp.bridges.lerobot_data.layout import ACTION
from paradp.bridges.lerobot_data.pictures import Video
from paradp.policy.data.episode import DemonstrationEpisode
from paradp.policy.files.columns import read_cells, read_columns
from paradp.policy.files.limits import check_image_bytes, check_numbers
from paradp.policy.files.memory import check_fits
from paradp.policy.files.pictures import decoded

_COUNTERS = ("index", "episode_index", "timestamp")


class LeRobotFrames:
    """The frames of a LeRobotDataset. Made by `open`.

    Args:
        described: its `info.json`.
        places: its episodes.
        facts: names of the quantities in its features.

    Attributes:
        path: its folder.
        described: its `info.json`.
        parts: for each of LeRobot's observed keys, the quantities in a vector with their lengths, or the name of an image.

    Raises:
        ValueError: the facts do not fit the data set.
    """

    def __init__(self, described: Description, places: list[EpisodePlace], facts: Facts):
        self.path = described.folder
        self.described = described
        self.parts = _parts(described, facts)
        self._places = places

    @classmethod
    def open(cls, path: Path, facts: Facts | None = None) -> "LeRobotFrames":
        """Opens a data set; frames are read later.

        Args:
            path: the folder.
            facts: names of the quantities in its features; by default those in its `paradp.yaml`.

        Raises:
            ValueError: it is not a LeRobotDataset v3, or is damaged; the message names the reason.
            OSError: a file is missing or cannot be read.
        """
        described = Description.read(path)
        return cls(described, read_episodes(described), read_facts(path) if facts is None else facts)

    @property
    def episode_ends(self) -> np.ndarray:
        return np.array([place.end for place in self._places])

    def observations(self) -> dict[str, np.ndarray]:
        """Reads the observations of all episodes: feature → `[steps, *shape]`.

        Raises:
            ValueError: frames are missing, damaged or not finite, or do not fit into memory.
        """
        return self._arrays[0]

    def actions(self) -> np.ndarray:
        """Reads the actions to learn, `[steps, A]`; errors as of `observations`."""
        return self._arrays[1]

    def episodes(self) -> Iterator[DemonstrationEpisode]:
        """Yields the episodes, holding only one in memory at a time; errors as of `observations`."""
        videos: dict[str, Video] = {}
        try:
            for file, places in groupby(self._places, lambda place: place.data):
                yield from self._of_file(file, list(places), videos)
        finally:
            for video in videos.values():
                video.close()

    @cached_property
    def _arrays(self) -> tuple[dict[str, np.ndarray], np.ndarray]:
        steps, seen = self.described.frames, self.described.features.values()
        vectors = steps * sum(feature.shape[0] for feature in seen if feature.kind == "vector")
        images = steps * sum(int(np.prod(feature.shape)) for feature in seen if feature.kind != "vector")
        check_numbers(vectors, str(self.path))
        check_image_bytes(images)
        check_fits(4 * vectors + images, f"the observations of {self.path}")
        observations: dict[str, np.ndarray] = {}
        actions = np.empty((steps, *self.described.features[ACTION].shape), np.float32)
        at = 0
        for episode in self.episodes():
            end = at + len(episode.actions)
            for key, values in episode.observations.items():
                if key not in observations:
                    observations[key] = np.empty((steps, *values.shape[1:]), values.dtype)
                observations[key][at:end] = values
            actions[at:end] = episode.actions
            at = end
        return observations, actions

    def _of_file(self, file: Path, places: list[EpisodePlace], videos: dict[str, Video]) -> Iterator[DemonstrationEpisode]:
        features = self.described.features
        vectors = [key for key, feature in features.items() if feature.kind == "vector"]
        table = read_columns(file, [*_COUNTERS, *vectors])
        _check_frames(file, places, table, self.described)
        cells = {key: read_cells(file, key) for key, feature in features.items() if feature.kind == "image"}
        for place in places:
            rows = slice(place.begin - places[0].begin, place.end - places[0].begin)
            found = {key: _vector(file, key, table[key][rows], place, features[key]) for key in vectors}
            for key, pictures in cells.items():
                found[key] = _pictures(file, key, pictures, place, features[key])
            for key, (path, begin) in place.videos.items():
                found[key] = self._video(videos, key, path).frames(begin, place.end - place.begin)
            actions = found.pop(ACTION)
            yield DemonstrationEpisode(self._cut(found), actions, actions, place.index)

    def _video(self, videos: dict[str, Video], key: str, path: Path) -> Video:
        """Opens a camera's video, or keeps it open if the last episode was in the same file."""
        if key not in videos or videos[key].path != path:
            if key in videos:
                videos.pop(key).close()
            videos[key] = Video(path, self.described.features[key].shape, self.described.fps)
        return videos[key]

    def _cut(self, found: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Splits the features into our quantities."""
        observations: dict[str, np.ndarray] = {}
        for key, said in self.parts.items():
            if isinstance(said, str):
                observations[said] = found[key]
                continue
            ends = np.cumsum(list(said.values()))[:-1]
            observations |= zip(said, map(np.ascontiguousarray, np.split(found[key], ends, axis=-1)), strict=True)
        return observations


def _parts(described: Description, facts: Facts) -> dict[str, str | dict[str, int]]:
    """Returns, for each of LeRobot's keys in order, the quantities in a vector with their lengths, or an image's name."""
    given = dict(facts.observation or {})
    parts: dict[str, str | dict[str, int]] = {}
    for key, feature in described.observed.items():
        said = given.pop(key, key)
        if feature.kind == "vector":
            said = {said: feature.shape[0]} if isinstance(said, str) else said
            if sum(said.values()) != feature.shape[0]:
                raise ValueError(
                    f"{described.folder}: the parts of {key!r}, {said}, must have {feature.shape[0]} numbers together"
                )
        elif not isinstance(said, str):
            raise ValueError(f"{described.folder}: {key!r} is an image, which has one name and no parts")
        parts[key] = said
    if given:
        raise ValueError(f"{described.folder / FILE} names {min(given)!r:.80}, which is not observed")
    names = [name for said in parts.values() for name in ([said] if isinstance(said, str) else said)]
    if doubled := {name for name in names if names.count(name) > 1}:
        raise ValueError(f"{described.folder / FILE} names {min(doubled)!r:.80} twice")
    return parts


def _check_frames(file: Path, places: list[EpisodePlace], table: Mapping[str, np.ndarray], described: Description) -> None:
    """Checks that the rows of a file are the frames of its episodes, and that their times have the declared rate."""
    begin, end = places[0].begin, places[-1].end
    if len(table["index"]) != end - begin:
        raise ValueError(f"{file} has {len(table['index'])} frames, and its episodes have {end - begin}")
    if not np.array_equal(table["index"], np.arange(begin, end)):
        raise ValueError(f"{file}: its frames are not in the order of their index")
    lengths = [place.end - place.begin for place in places]
    if not np.array_equal(table["episode_index"], np.repeat([place.index for place in places], lengths)):
        raise ValueError(f"{file}: its frames belong to other episodes than meta/episodes says")
    times = np.concatenate([np.arange(length) for length in lengths]) / described.fps
    if not (np.abs(table["timestamp"] - times) <= 0.5 / described.fps).all():
        raise ValueError(f"{file}: its frames did not come {described.fps} times a second: see the column timestamp")


def _vector(file: Path, key: str, values: np.ndarray, place: EpisodePlace, feature: Stored) -> np.ndarray:
    if (values.shape[1] if values.ndim > 1 else 1) != feature.shape[0]:
        raise ValueError(f"{file}: {key} does not have {feature.shape[0]} numbers a frame, as meta/info.json says")
    found = values.reshape(len(values), feature.shape[0]).astype(np.float32)
    if (wrong := np.argwhere(~np.isfinite(found))).size:
        raise ValueError(f"{file}: {key} is not finite in frame {wrong[0, 0]} of episode {place.index}")
    return found


def _pictures(file: Path, key: str, cells: Iterator[bytes], place: EpisodePlace, feature: Stored) -> np.ndarray:
    found = np.empty((place.end - place.begin, *feature.shape), np.uint8)
    for i in range(len(found)):
        try:
            found[i] = decoded(next(cells), feature.shape)
        except ValueError as error:
            raise ValueError(f"{file}: {key} in frame {i} of episode {place.index}: {error}") from error
    return found

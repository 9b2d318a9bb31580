"""Reads the frames of a LeRobotDataset v3, episode by episode, under our names; executes no code from it."""

from collections.abc import Collection, Iterator, Mapping
from functools import cached_property
from itertools import groupby
from math import prod
from pathlib import Path

import numpy as np

from paradp.bridges.data_facts import Parts, named, parts_of
from paradp.bridges.facts import Facts, read_facts
from paradp.bridges.lerobot_data.description import Description, Stored
from paradp.bridges.lerobot_data.episodes import EpisodePlace, read_episodes
from paradp.bridges.lerobot_data.images import LeRobotImages
from paradp.bridges.lerobot_data.layout import ACTION
from paradp.policy.data.episode import DemonstrationEpisode
from paradp.policy.files.columns import read_columns
from paradp.policy.files.limits import check_numbers
from paradp.policy.files.memory import check_fits

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
        shapes = {key: feature.shape for key, feature in described.observed.items()}
        self.parts = parts_of(described.folder, shapes, facts)
        self._places = places

    @classmethod
    def open(cls, path: Path, facts: Facts | None = None, keys: Collection[str] = ()) -> "LeRobotFrames":
        """Opens a data set; frames are read later.

        Args:
            path: the folder.
            facts: names of the quantities in its features; by default those in its `paradp.yaml`.
            keys: the observed features to read; by default those named in the facts, or all.

        Raises:
            ValueError: it is not a LeRobotDataset v3, or is damaged; the message names the reason.
            OSError: a file is missing or cannot be read.
        """
        known = (read_facts(path) if facts is None else facts).keeping(keys)
        described = Description.read(path, keys or known.observation or ())
        return cls(described, read_episodes(described), known)

    @property
    def episode_ends(self) -> np.ndarray:
        return np.array([place.end for place in self._places])

    def observations(self) -> dict[str, np.ndarray]:
        """Reads the observations of all episodes: feature → `[steps, *shape]`.

        Raises:
            ValueError: frames are missing, damaged or not finite, or do not fit into memory.
        """
        images, steps = self.images(), self.described.frames
        check_fits(sum(steps * prod(shape) for shape in images.shapes.values()), f"the images of {self.path}")
        found = {name: np.empty((steps, *shape), np.uint8) for name, shape in images.shapes.items()}
        vectors = self.vectors()
        try:
            images.fill(0, steps, found)
        finally:
            images.close()
        names = [name for said in self.parts.values() for name in ([said] if isinstance(said, str) else said)]
        return {name: found[name] if name in found else vectors[name] for name in names}

    def vectors(self) -> dict[str, np.ndarray]:
        """Reads only the vectors of `observations`, without decoding images."""
        return named(self._parts_of_vectors, self._vectors)

    def actions(self) -> np.ndarray:
        """Reads the actions to learn, `[steps, A]`; errors as of `observations`."""
        return self._vectors[ACTION]

    def images(self) -> LeRobotImages:
        """Returns a reader of images by frame, which opens files when they are needed."""
        seen = {key: feature for key, feature in self.described.observed.items() if feature.kind != "vector"}
        names = {key: name for key in seen if isinstance(name := self.parts[key], str)}
        return LeRobotImages(self.path, self._places, seen, names, self.described.fps)

    def episodes(self) -> Iterator[DemonstrationEpisode]:
        """Yields the episodes, holding only one in memory at a time; errors as of `observations`."""
        images = self.images()
        try:
            for file, places in self._by_file():
                table = self._read(file, places)
                for place in places:
                    rows = slice(place.begin - places[0].begin, place.end - places[0].begin)
                    yield self._episode(place, {key: values[rows] for key, values in table.items()}, images)
        finally:
            images.close()

    def _episode(self, place: EpisodePlace, vectors: dict[str, np.ndarray], images: LeRobotImages) -> DemonstrationEpisode:
        steps = place.end - place.begin
        needed = sum(steps * prod(shape) for shape in images.shapes.values())
        check_fits(needed, f"the images of episode {place.index} of {self.path}")
        seen = {name: np.empty((steps, *shape), np.uint8) for name, shape in images.shapes.items()}
        images.fill(place.begin, place.end, seen)
        actions = vectors.pop(ACTION)
        return DemonstrationEpisode(seen | named(self._parts_of_vectors, vectors), actions, actions, place.index)

    @property
    def _parts_of_vectors(self) -> Parts:
        return {key: said for key, said in self.parts.items() if not isinstance(said, str)}

    @cached_property
    def _vectors(self) -> dict[str, np.ndarray]:
        """Reads all vectors and the actions, by LeRobot's keys, `[steps, n]`."""
        vectors = {key: feature for key, feature in self.described.features.items() if feature.kind == "vector"}
        steps = self.described.frames
        check_numbers(steps * sum(feature.shape[0] for feature in vectors.values()), str(self.path))
        check_fits(4 * steps * sum(feature.shape[0] for feature in vectors.values()), f"the vectors of {self.path}")
        found = {key: np.empty((steps, *feature.shape), np.float32) for key, feature in vectors.items()}
        for file, places in self._by_file():
            for key, values in self._read(file, places).items():
                found[key][places[0].begin : places[-1].end] = values
        return found

    def _by_file(self) -> Iterator[tuple[Path, list[EpisodePlace]]]:
        for file, places in groupby(self._places, lambda place: place.data):
            yield file, list(places)

    def _read(self, file: Path, places: list[EpisodePlace]) -> dict[str, np.ndarray]:
        """Reads and checks the vectors of a file."""
        features = self.described.features
        vectors = [key for key, feature in features.items() if feature.kind == "vector"]
        table = read_columns(file, [*_COUNTERS, *vectors], self.path)
        _check_frames(file, places, table, self.described)
        return {key: _vector(file, key, table[key], places, features[key]) for key in vectors}


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


def _vector(file: Path, key: str, values: np.ndarray, places: list[EpisodePlace], feature: Stored) -> np.ndarray:
    if (values.shape[1] if values.ndim > 1 else 1) != feature.shape[0]:
        raise ValueError(f"{file}: {key} does not have {feature.shape[0]} numbers a frame, as meta/info.json says")
    found = values.reshape(len(values), feature.shape[0]).astype(np.float32)
    if (wrong := np.argwhere(~np.isfinite(found))).size:
        row = places[0].begin + int(wrong[0, 0])
        place = next(place for place in places if row < place.end)
        raise ValueError(f"{file}: {key} is not finite in frame {row - place.begin} of episode {place.index}")
    return found

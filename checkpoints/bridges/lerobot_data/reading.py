"""Reads a LeRobotDataset v3 as training data: a `Dataset`, without LeRobot, nothing in it executed."""

from collections.abc import Iterator, Mapping
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from paradp.bridges.facts import AS_RECORDED, FILE, Facts, read_facts
from paradp.bridges.lerobot_data.description import Description, Stored
from paradp.bridges.lerobot_data.episodes import Place, read_episodes
from paradp.bridges.lerobot_data.layout import ACTION
from paradp.bridges.lerobot_data.pictures import Video, decoded
from paradp.policy.data.dataset import content_digest
from paradp.policy.data.episode import DemonstrationEpisode, DemonstrationInfo
from paradp.policy.features import Shape
from paradp.policy.files.columns import read_cells, read_columns
from paradp.policy.files.limits import check_image_bytes, check_numbers
from paradp.policy.files.memory import check_fits

_COUNTERS = ("index", "episode_index", "timestamp")


class LeRobotData:
    """A data set of LeRobot's: a `Dataset`. `open` makes one.

    Attributes:
        path: its folder.
        info: what is known of it, from `info.json` and the facts.
        described: what `info.json` says.
    """

    def __init__(self, described: Description, places: list[Place], facts: Facts):
        self.path = described.folder
        self.described = described
        self._places = places
        self._parts = _parts(described, facts)
        self.info = _info(described, facts, self._parts)

    @classmethod
    def open(cls, path: Path, facts: Mapping[str, Any] | None = None) -> "LeRobotData":
        """Opens what is there; frames are read later.

        Args:
            path: the folder.
            facts: what it does not say, see `paradp.bridges.Facts`; what is not given is looked up in its `paradp.yaml`.

        Raises:
            ValueError: it is no LeRobotDataset v3, damaged, or a fact is missing; the message names what.
            OSError: a file is not there or may not be read.
        """
        described = Description.read(path)
        return cls(described, read_episodes(described), read_facts(path, facts))

    @property
    def episode_ends(self) -> np.ndarray:
        return np.array([place.end for place in self._places])

    def observations(self) -> dict[str, np.ndarray]:
        """Feature → `[steps, *shape]` of all episodes.

        Raises:
            ValueError: frames are missing, damaged or not finite, or there is not memory enough for them.
        """
        return self._arrays[0]

    def actions(self) -> np.ndarray:
        """The actions to learn, `[steps, A]`; errors as of `observations`."""
        return self._arrays[1]

    def digest(self) -> str:
        """Of the content; the same as that of our own demonstrations with the same content."""
        return content_digest(self)

    def episodes(self) -> Iterator[DemonstrationEpisode]:
        """One after another, of which only one is held; errors as of `observations`."""
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
        actions = np.empty((steps, sum(self.info.action.values())), np.float32)
        at = 0
        for episode in self.episodes():
            end = at + len(episode.actions)
            for key, values in episode.observations.items():
                observations.setdefault(key, np.empty((steps, *values.shape[1:]), values.dtype))[at:end] = values
            actions[at:end] = episode.actions
            at = end
        return observations, actions

    def _of_file(self, file: Path, places: list[Place], videos: dict[str, Video]) -> Iterator[DemonstrationEpisode]:
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
        """The video of a camera: opened once, and closed where its next one begins."""
        if key not in videos or videos[key].path != path:
            if key in videos:
                videos.pop(key).close()
            videos[key] = Video(path, self.described.features[key].shape, self.described.fps)
        return videos[key]

    def _cut(self, found: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """By the names that our quantities have."""
        observations: dict[str, np.ndarray] = {}
        for key, said in self._parts.items():
            if isinstance(said, str):
                observations[said] = found[key]
                continue
            ends = np.cumsum(list(said.values()))[:-1]
            observations |= zip(said, map(np.ascontiguousarray, np.split(found[key], ends, axis=-1)), strict=True)
        return observations


def _parts(described: Description, facts: Facts) -> dict[str, str | dict[str, int]]:
    """By LeRobot's keys, in their order: the quantities in a vector with their lengths, or an image's name."""
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


def _info(described: Description, facts: Facts, parts: Mapping[str, str | dict[str, int]]) -> DemonstrationInfo:
    folder, size = described.folder, described.features[ACTION].shape[0]
    if missing := [name for name in ("task", "action_low", "action_high") if getattr(facts, name) is None]:
        raise ValueError(
            f"{folder} does not say its {', '.join(missing)}: write them into {folder / FILE}, such as "
            f'"task: pusht", "action_low: {[0.0] * size}"'
        )
    # For the type checker: that was seen to.
    assert facts.task is not None and facts.action_low is not None and facts.action_high is not None
    if facts.control_hz not in (None, described.fps):
        raise ValueError(
            f"{folder / FILE} says control_hz: {facts.control_hz}, and its frames come {described.fps} times a second"
        )
    action = facts.action or {ACTION: size}
    if sum(action.values()) != size:
        raise ValueError(f"{folder}: the parts of the action, {action}, must have {size} numbers together")
    observation: dict[str, Shape] = {}
    for key, said in parts.items():
        if isinstance(said, str):
            height, width, channels = described.features[key].shape
            observation[said] = (height, width, channels)
        else:
            observation |= said
    try:
        return DemonstrationInfo(
            facts.task,
            facts.action_convention or AS_RECORDED,
            observation,
            action,
            facts.action_low,
            facts.action_high,
            described.fps,
            facts.controller or {},
            {"dataset": "LeRobotDataset v3"},
        )
    except ValueError as error:
        raise ValueError(f"{folder} cannot be used: {error}") from error


def _check_frames(file: Path, places: list[Place], table: Mapping[str, np.ndarray], described: Description) -> None:
    """Checks that the rows of a file are the frames of its episodes, and that they came at the rate that is said."""
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


def _vector(file: Path, key: str, values: np.ndarray, place: Place, feature: Stored) -> np.ndarray:
    if (values.shape[1] if values.ndim > 1 else 1) != feature.shape[0]:
        raise ValueError(f"{file}: {key} does not have {feature.shape[0]} numbers a frame, as meta/info.json says")
    found = values.reshape(len(values), feature.shape[0]).astype(np.float32)
    if (wrong := np.argwhere(~np.isfinite(found))).size:
        raise ValueError(f"{file}: {key} is not finite in frame {wrong[0, 0]} of episode {place.index}")
    return found


def _pictures(file: Path, key: str, cells: Iterator[bytes], place: Place, feature: Stored) -> np.ndarray:
    found = np.empty((place.end - place.begin, *feature.shape), np.uint8)
    for i in range(len(found)):
        try:
            found[i] = decoded(next(cells), feature.shape)
        except ValueError as error:
            raise ValueError(f"{file}: {key} in frame {i} of episode {place.index}: {error}") from error
    return found

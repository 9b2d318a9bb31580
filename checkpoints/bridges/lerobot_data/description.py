"""Reads and checks `meta/info.json`, in which a LeRobotDataset describes itself."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any, Literal

from paradp.bridges.fact_fields import FILE
from paradp.bridges.lerobot_data import layout
from paradp.policy.files.limits import DOCUMENT_BYTES, MOST_CONTROL_HZ, MOST_EDGE, MOST_PIXELS, MOST_VALUES, within
from paradp.policy.files.reading import read_object

OBSERVED = "observation."
_NUMBERS = ("float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "bool")

# Keys of a camera's details; either may contain a flag for depth images.
_INFO = ("info", "video_info")


@dataclass(frozen=True)
class Stored:
    """How a feature of the observation, or the action, is stored.

    Attributes:
        kind: numbers or images in the table of frames, or videos.
        shape: `(n,)`, or height, width and channels.
    """

    kind: Literal["vector", "image", "video"]
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Description:
    """The description of a data set.

    Attributes:
        folder: the data set's folder.
        fps: frames per second.
        features: the observed features that are read, in the data set's order, and the action.
        episodes, frames: the numbers of them.
        version: version of the format: v2.0, v2.1 or v3.0.
        episodes_a_chunk: number of episodes in a folder, in version 2.
    """

    folder: Path
    fps: int
    features: dict[str, Stored]
    episodes: int
    frames: int
    version: str
    episodes_a_chunk: int

    @classmethod
    def read(cls, folder: Path, keys: Collection[str] = ()) -> "Description":
        """Reads the description.

        Args:
            folder: the data set's folder.
            keys: the observed features to read; by default all. Others, like rewards and tasks, are neither checked nor
                read.

        Raises:
            ValueError: it is not such a description, has another version, lacks one of the keys, or one of these features is
                unsupported; the message names the reason.
            OSError: it is missing or cannot be read.
        """
        path = folder / layout.INFO
        found = read_object(path, DOCUMENT_BYTES, folder)
        _check_named(keys, found.get("features"), folder)
        try:
            version = _version(found.get("codebase_version"))
            data, videos = (layout.OLD_DATA, layout.OLD_VIDEOS) if version in layout.OLD else (layout.DATA, layout.VIDEOS)
            if found.get("data_path") != data or found.get("video_path") not in (None, videos):
                raise ValueError("its files have other names than LeRobot gives them")
            features = _features(found.get("features"), keys)
            episodes, frames = (_whole(found, name) for name in ("total_episodes", "total_frames"))
            chunk = _whole(found, "chunks_size") if version in layout.OLD else layout.FILES_A_CHUNK
            return cls(folder, _rate(found.get("fps")), features, episodes, frames, version, chunk)
        except ValueError as error:
            raise ValueError(f"{path} cannot be read: {error}") from error

    @property
    def observed(self) -> dict[str, Stored]:
        """The features without the action."""
        return {key: feature for key, feature in self.features.items() if key != layout.ACTION}


def is_lerobot(path: Path) -> bool:
    """Whether a folder contains a LeRobotDataset of any version, judged by its `info.json`."""
    return (path / layout.INFO).is_file()


def _version(version: Any) -> str:
    if not isinstance(version, str):
        raise ValueError("it does not say its codebase_version")
    if not (version in layout.OLD or version.startswith("v3.")):
        old = "; LeRobot converts older ones" * version.startswith("v1.")
        raise ValueError(f"it is a data set of version {version:.20}; {', '.join(layout.OLD)} and v3 are read{old}")
    return version


def _check_named(keys: Collection[str], described: Any, folder: Path) -> None:
    """Raises:
    ValueError: one of the keys is no observed feature.
    """
    observed = [key for key in described if key.startswith(OBSERVED)] if isinstance(described, dict) else []
    if lacking := [key for key in keys if key not in observed]:
        there = f"there are {', '.join(observed):.400}"
        raise ValueError(f"{folder} has no observed feature {lacking[0]!r:.80}; {there}; correct {FILE} or --keys")


def _features(described: Any, keys: Collection[str]) -> dict[str, Stored]:
    if not isinstance(described, dict):
        raise ValueError("it describes no features")
    observed = [key for key in described if key.startswith(OBSERVED)]
    if not observed:
        raise ValueError(f"it has no feature whose name begins with {OBSERVED}")
    found = {key: _observed(key, described[key]) for key in observed if not keys or key in keys}
    if layout.ACTION not in described or (action := _feature(layout.ACTION, described[layout.ACTION])).kind != "vector":
        raise ValueError("it has no action that is a vector")
    return {**found, layout.ACTION: action}


def _observed(key: str, one: Any) -> Stored:
    try:
        return _feature(key, one)
    except ValueError as error:
        chosen = f"list the features to read, without this one, under observation: in {FILE}, or after --keys in an import"
        raise ValueError(f"{error}; {chosen}") from error


def _feature(key: str, one: Any) -> Stored:
    if any(sign in key for sign in "/\\\0"):  # the key becomes the name of a folder
        raise ValueError(f"{key!r:.100} is not a name of a feature: it has a slash, a backslash or a NUL")
    if not isinstance(one, Mapping) or not isinstance(shape := one.get("shape"), list):
        raise ValueError(f"{key:.100} has no shape")
    if any(type(edge) is not int or edge < 1 for edge in shape):
        raise ValueError(f"{key:.100} has the shape {shape!s:.60}")
    dtype = one.get("dtype")
    if dtype in ("image", "video"):
        if _is_depth(one):
            raise ValueError(f"{key:.100} holds depths, which are not read")
        return Stored(dtype, _image_shape(key, shape, one.get("names")))
    if dtype not in _NUMBERS:
        raise ValueError(f"{key:.100} holds {dtype!s:.20}, which is not read")
    if len(shape) != 1:
        raise ValueError(f"{key:.100} is not a vector: its shape is {shape}")
    within(f"the length of {key:.100}", shape[0], 1, MOST_VALUES)
    return Stored("vector", (shape[0],))


def _is_depth(one: Mapping[str, Any]) -> bool:
    told = [info for name in _INFO if isinstance(info := one.get(name), Mapping)]
    return any(name.endswith("is_depth_map") and bool(said) for info in told for name, said in info.items())


def _image_shape(key: str, shape: list[int], names: Any) -> tuple[int, int, int]:
    """Returns height, width and channels, in the order given by the names of the dimensions."""
    if len(shape) != 3:
        raise ValueError(f"{key:.100} is not an image: its shape is {shape}")
    channels_first = isinstance(names, list) and str(names[0]).startswith("channel") if names else shape[0] in (1, 3)
    height, width, channels = (*shape[1:], shape[0]) if channels_first else shape
    if channels not in (1, 3):
        raise ValueError(f"{key:.100} has {channels} channels (shape {shape}, names {names!s:.60}); 1 and 3 are read")
    for edge in (height, width):
        within(f"an edge of {key:.100}", edge, 1, MOST_EDGE)
    within(f"the size of {key:.100}", height * width * channels, 1, MOST_PIXELS)
    return height, width, channels


def _rate(fps: Any) -> int:
    if type(fps) not in (int, float) or not isfinite(fps) or fps != int(fps):
        raise ValueError(f"its rate must be a whole number of frames a second, not {fps!s:.20}")
    within("fps", int(fps), 1, MOST_CONTROL_HZ)
    return int(fps)


def _whole(found: Mapping[str, Any], name: str) -> int:
    if type(value := found.get(name)) is not int or value < 1:
        raise ValueError(f"its {name} is {value!s:.20}")
    return value

"""Reads HDF5 files of demonstrations by robomimic and by robosuite's collection script. Reading executes no code.

    data                    attributes: env_args (robomimic), or env and env_info (robosuite), JSON
    data/demo_N/actions     [T, 7]
    data/demo_N/states      [T, 1 + nq + nv], states of the simulator, each before its action
    data/demo_N/obs/KEY     [T, n], observations (robomimic)
    data/demo_N/obs/KEY     uint8 [T, height, width, channels], images of a camera (robomimic)
    mask/KEY                names of demonstrations, such as those to train on (robomimic)

Sources: robomimic's dataset documentation ("Dataset Structure and Creation"), and robosuite's
`collect_human_demonstrations.py`.
"""

import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from paradp.envs.lookup import find
from paradp.policy.features import Shape
from paradp.policy.files import hdf5
from paradp.policy.files.image_arrays import as_bytes, image_shape
from paradp.policy.files.memory import check_fits
from paradp.policy.files.reading import digest
from paradp.policy.wording import counted
from paradp.rollouts.imports.settings import RecordingSettings, read_settings

if TYPE_CHECKING:
    import h5py

ACTIONS = "actions"
# robomimic's low-dimensional observations (`observation.modalities.obs.low_dim` of its configurations).
LOW_DIM_KEYS = ("robot0_eef_pos", "robot0_eef_quat", "robot0_gripper_qpos", "object")


@dataclass(frozen=True)
class Recording:
    """One demonstration.

    Attributes:
        name: its group in the file.
        actions: `[T, A]`.
        states: `[T, S]`, states of the simulator, or `None`.
        observations: key → `[T, n]`; empty if none were recorded.
    """

    name: str
    actions: np.ndarray
    states: np.ndarray | None
    observations: dict[str, np.ndarray]

    def __len__(self) -> int:
        return len(self.actions)

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """All recorded arrays, by their paths in the group."""
        states = {} if self.states is None else {"states": self.states}
        return {ACTIONS: self.actions, **states, **{f"obs/{key}": value for key, value in self.observations.items()}}


@dataclass(frozen=True)
class RecordedFile:
    """All demonstrations of a file, in the order of their numbers.

    Attributes:
        path: the file.
        sha256: its digest.
        settings: the settings of the recording.
        recordings: the demonstrations.
        masks: names of demonstrations by the key that they are listed under, such as those to train on.
        other_actions: further arrays of actions, which were not read.
        unread: observations that cannot be read, with the reason: texts, incomplete ones, other shapes.
        images: height, width and channels of each camera's images; `read_images` reads them, an episode at a time.
    """

    path: Path
    sha256: str
    settings: RecordingSettings
    recordings: list[Recording]
    masks: dict[str, list[str]]
    other_actions: list[str]
    unread: dict[str, str] = field(default_factory=dict)
    images: dict[str, Shape] = field(default_factory=dict)

    def masked(self, key: str) -> "RecordedFile":
        """Returns only the demonstrations of a mask.

        Raises:
            ValueError: there is no such mask, or it is empty, or it names demonstrations that are missing, so that a
                training would not use what the mask lists.
        """
        with naming(self.path):
            names = find(self.masks, key, "mask")
            there = {recording.name for recording in self.recordings}
            if absent := [name for name in names if name not in there]:
                some = ", ".join(f"{name:.40}" for name in absent[:3]) + ", …" * (len(absent) > 3)
                raise ValueError(f"the mask {key!r} names {_absent(len(absent))}: {some}")
            if not names:
                raise ValueError(f"the mask {key!r} names no demonstration")
        return replace(self, recordings=[recording for recording in self.recordings if recording.name in names])

    def keeping(self, keys: Collection[str]) -> "RecordedFile":
        """Returns the file with only these observations, so that the others are not checked."""
        kept = [
            replace(recording, observations={key: v for key, v in recording.observations.items() if key in keys})
            for recording in self.recordings
        ]
        return replace(self, recordings=kept)


def read_file(path: Path, actions: str = ACTIONS) -> RecordedFile:
    """Reads a whole file. Its values are checked by `paradp.rollouts.imports.defects`.

    Args:
        path: the file.
        actions: name of the array of actions in a demonstration; robomimic stores absolute ones in `actions_abs`.

    Raises:
        ValueError: it is not such a file, is truncated, lacks an array, or contains other data than numbers; the message
            names the problem and its place.
    """
    with hdf5.open_hdf5(path) as file:
        data = hdf5.group(file, "data")
        settings = read_settings(data)
        names = sorted(filter(_DEMONSTRATION.fullmatch, data), key=_number)
        if not names:
            raise ValueError("it has no demonstrations: data/demo_0, data/demo_1, …")
        hdf5.check_places(data, names, "obs")
        arrays = [_arrays(hdf5.group(data, name), name, actions) for name in names]
        unread = _drop_odd(arrays)
        images = _take_images(arrays)
        hdf5.check_size([dataset for found in arrays for dataset in found.values() if not isinstance(dataset, str)])
        recordings = [_read(name, found, actions) for name, found in zip(names, arrays, strict=True)]
        others = sorted(key for key in data[names[0]] if key.startswith(ACTIONS) and key != actions)
        masks = hdf5.name_lists(hdf5.group(file, "mask")) if "mask" in file else {}
    with path.open("rb") as raw:
        sha256 = digest(raw)
    settings = replace(settings, control_hz=settings.control_hz or _rate_of(recordings[0]))
    return RecordedFile(path, sha256, settings, recordings, masks, others, unread, images)


def read_images(file: RecordedFile, name: str, keys: Collection[str]) -> dict[str, np.ndarray]:
    """Reads the images of one demonstration: key → uint8 `[T, height, width, channels]`.

    Args:
        file: from `read_file`.
        name: the demonstration's name.
        keys: the cameras.

    Raises:
        ValueError: the images are damaged, do not fit into memory, or are floats that are not pixel values.
    """
    if not keys:
        return {}
    where = f"{name}/obs"
    with hdf5.open_hdf5(file.path) as opened:
        observed = hdf5.group(hdf5.group(hdf5.group(opened, "data"), name), "obs")
        arrays = {key: hdf5.images(observed, key, where) for key in keys}
        check_fits(sum(2 * array.nbytes for array in arrays.values()), f"the images of {name}")
        return {key: as_bytes(array[:], f"{where}/{key}") for key, array in arrays.items()}


def _absent(count: int) -> str:
    return counted(count, "demonstration that is not in the file", "demonstrations that are not in the file")


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Adds the file's name to errors that do not begin with it."""
    try:
        yield
    except ValueError as error:
        if str(error).startswith(f"{path}"):
            raise
        raise ValueError(f"{path}: {error}") from error


_DEMONSTRATION = re.compile(r"demo_?\d+")
_OBSERVATION = "obs/"


def _arrays(group: "h5py.Group", name: str, actions: str) -> "dict[str, h5py.Dataset | str]":
    """Finds the arrays of a demonstration by path, without reading them; for an unreadable observation, the reason."""
    found: dict[str, h5py.Dataset | str] = {actions: hdf5.numbers(group, actions, name)}
    if "states" in group:
        found["states"] = hdf5.numbers(group, "states", name)
    steps = len(found[actions])
    for key in (observed := hdf5.group(group, "obs") if "obs" in group else {}):
        found[_OBSERVATION + key] = _observation(observed, key, f"{name}/obs", steps)
    if (states := found.get("states")) is not None and len(states) != steps:
        raise ValueError(f"{name}/states has {counted(len(states), 'step')}, its actions have {steps}")
    return found


def _observation(observed: "h5py.Group", key: str, where: str, steps: int) -> "h5py.Dataset | str":
    try:
        array = hdf5.numbers_or_images(observed, key, where)
    except (ValueError, KeyError, RuntimeError, TypeError) as error:  # of a damaged one too
        return str(error)
    return array if len(array) == steps else f"{where}/{key} has {counted(len(array), 'step')}, its actions have {steps}"


def _drop_odd(arrays: "list[dict[str, h5py.Dataset | str]]") -> dict[str, str]:
    """Removes observations whose arrays differ between demonstrations: key → reason."""
    unread: dict[str, str] = {}
    for key in sorted({key for found in arrays for key in found if key.startswith(_OBSERVATION)}):
        entries = [found.get(key, f"{key} is not in every demonstration") for found in arrays]
        odd = next((entry for entry in entries if isinstance(entry, str)), None)
        if odd is None and len(shapes := {entry.shape[1:] for entry in entries}) > 1:  # type: ignore[union-attr]
            what = "the size of its images" if any(len(shape) == 3 for shape in shapes) else "its number of columns"
            odd = f"{key} differs in {what} between demonstrations"
        if odd is not None:
            unread[key.removeprefix(_OBSERVATION)] = odd
            for found in arrays:
                found.pop(key, None)
    return unread


def _take_images(arrays: "list[dict[str, h5py.Dataset | str]]") -> dict[str, Shape]:
    """Takes out the images, which are read an episode at a time; returns their shapes."""
    images = {key: found for key, found in arrays[0].items() if found.ndim == 4}  # type: ignore[union-attr]
    for found in arrays:
        for key in images:
            del found[key]
    return {
        key.removeprefix(_OBSERVATION): image_shape(found.shape, found.dtype, key)  # type: ignore[union-attr]
        for key, found in images.items()
    }


def _read(name: str, arrays: "dict[str, h5py.Dataset | str]", actions: str) -> Recording:
    values = {place: np.asarray(dataset[:], np.float64) for place, dataset in arrays.items()}  # type: ignore[index]
    observations = {key.removeprefix(_OBSERVATION): v for key, v in values.items() if key.startswith(_OBSERVATION)}
    return Recording(name, values[actions], values.get("states"), observations)


def _number(name: str) -> tuple[int, str]:
    digits = name.rpartition("_")[2]
    return int(digits) if digits.isdecimal() else -1, name


def _rate_of(recording: Recording) -> int | None:
    """Control steps per second, from the simulator's time, which is the first number of a state; `None` if implausible."""
    if recording.states is None or len(recording) < 2 or recording.states.shape[1] < 1:
        return None
    period = float(np.median(np.diff(recording.states[:, 0])))
    return round(1 / period) if np.isfinite(period) and 1e-3 < period < 10 else None

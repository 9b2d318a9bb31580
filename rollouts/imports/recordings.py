"""HDF5 files of demonstrations, as robomimic and robosuite's own collection script write them. Read as data, never run.

    data                    attributes: env_args (robomimic), or env and env_info (robosuite), JSON
    data/demo_N/actions     [T, 7]
    data/demo_N/states      [T, 1 + nq + nv], the simulator's, each before its action
    data/demo_N/obs/KEY     [T, n], observations (robomimic)
    mask/KEY                names of demonstrations, such as those to train on (robomimic)

Sources: robomimic's dataset documentation ("Dataset Structure and Creation"), and robosuite's
`collect_human_demonstrations.py`.
"""

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import h5py
import numpy as np

from paradp.envs.lookup import find
from paradp.rollouts.imports.settings import Settings, read_settings

# Two gigabytes; the largest of robomimic's low-dimensional files, machine-generated ones, may have a hundred million.
MOST_NUMBERS = 2**28
ACTIONS = "actions"
# robomimic's low-dimensional observations (`observation.modalities.obs.low_dim` of its configurations).
LOW_DIM_KEYS = ("robot0_eef_pos", "robot0_eef_quat", "robot0_gripper_qpos", "object")


@dataclass(frozen=True)
class Recording:
    """One demonstration.

    Attributes:
        name: its group in the file.
        actions: `[T, A]`.
        states: `[T, S]`, the simulator's, or `None`.
        observations: key → `[T, n]`; empty where none were recorded.
    """

    name: str
    actions: np.ndarray
    states: np.ndarray | None
    observations: dict[str, np.ndarray]

    def __len__(self) -> int:
        return len(self.actions)

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """Everything that was recorded, by its place in the group."""
        states = {} if self.states is None else {"states": self.states}
        return {ACTIONS: self.actions, **states, **{f"obs/{key}": value for key, value in self.observations.items()}}


@dataclass(frozen=True)
class RecordedFile:
    """All demonstrations of a file, in the order of their numbers.

    Attributes:
        path: the file's.
        sha256: its digest.
        settings: how they were recorded.
        recordings: the demonstrations.
        masks: names of demonstrations by the key that they are listed under, such as those to train on.
        other_actions: further arrays of actions, which were not read.
    """

    path: Path
    sha256: str
    settings: Settings
    recordings: list[Recording]
    masks: dict[str, list[str]]
    other_actions: list[str]

    def masked(self, key: str) -> "RecordedFile":
        """Only the demonstrations that are listed under a key.

        Raises:
            ValueError: there is no such key, or it lists none that is there.
        """
        with naming(self.path):
            names = find(self.masks, key, "mask")
            chosen = [recording for recording in self.recordings if recording.name in names]
            if not chosen:
                raise ValueError(f"the mask {key!r} lists no demonstration that is there")
        return replace(self, recordings=chosen)


def read_file(path: Path, actions: str = ACTIONS) -> RecordedFile:
    """Reads a whole file; what its numbers are like is for `paradp.rollouts.imports.defects` to say.

    Args:
        path: the file.
        actions: the array of a demonstration that holds its actions: robomimic keeps absolute ones in `actions_abs`.

    Raises:
        ValueError: it is no such file, is cut short, lacks something, or holds what is no number; the message names what is
            wrong and where.
    """
    if not path.is_file():
        raise ValueError(f"{path} is not a file")
    try:
        with h5py.File(path, "r") as file, naming(path):
            data = _group(file, "data")
            settings = read_settings(data)
            names = sorted((name for name in data if name.startswith("demo")), key=_number)
            if not names:
                raise ValueError("it has no demonstrations: data/demo_0, data/demo_1, …")
            groups = {name: _group(data, name) for name in names}
            _check_size(groups, actions)
            recordings = [_recording(group, name, actions) for name, group in groups.items()]
            others = sorted(key for key in groups[names[0]] if key.startswith(ACTIONS) and key != actions)
            masks = _masks(_group(file, "mask")) if "mask" in file else {}
    except (OSError, KeyError, RuntimeError, TypeError) as error:  # what h5py raises for damaged files
        raise ValueError(f"{path} is no HDF5 file that can be read, or is cut short: {error}") from error
    with path.open("rb") as raw:
        digest = hashlib.file_digest(raw, "sha256").hexdigest()
    settings = replace(settings, control_hz=settings.control_hz or _rate_of(recordings[0]))
    return RecordedFile(path, digest, settings, recordings, masks, others)


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Says of which file a complaint is."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _recording(group: h5py.Group, name: str, key: str) -> Recording:
    actions = _numbers(group, key, name)
    states = _numbers(group, "states", name) if "states" in group else None
    observed = _group(group, "obs") if "obs" in group else {}
    observations = {key: _numbers(observed, key, f"{name}/obs") for key in observed if _is_vector(observed, key)}
    recording = Recording(name, actions, states, observations)
    for what, values in recording.arrays.items():
        if len(values) != len(actions):
            raise ValueError(f"{name}/{what} has {len(values)} steps, its actions have {len(actions)}")
    return recording


def _is_vector(group: h5py.Group, key: str) -> bool:
    """Pictures are left alone."""
    _check_link(group, key)
    return isinstance(group[key], h5py.Dataset) and group[key].ndim == 2


def _numbers(group: h5py.Group, key: str, where: str) -> np.ndarray:
    """Numbers `[T, n]`."""
    if key not in group:
        raise ValueError(f"{where} lacks {key!r}; it has: {', '.join(group) or 'nothing'}")
    _check_link(group, key)
    dataset = group[key]
    if not isinstance(dataset, h5py.Dataset):
        raise ValueError(f"{where}/{key} is not an array")
    if dataset.dtype.kind not in "fiu":
        raise ValueError(f"{where}/{key} holds {dataset.dtype}, not numbers; objects, pickled or not, are never read")
    if dataset.external or dataset.is_virtual:
        raise ValueError(f"{where}/{key} points to another file")
    if dataset.ndim != 2:
        raise ValueError(f"{where}/{key} has shape {dataset.shape}; it should be steps by values")
    return dataset[:].astype(np.float64)


def _group(parent: h5py.Group, name: str) -> h5py.Group:
    if name not in parent:
        raise ValueError(f"it lacks the group {name!r}; it has: {', '.join(parent) or 'nothing'}")
    _check_link(parent, name)
    if not isinstance(parent[name], h5py.Group):
        raise ValueError(f"{name!r} is not a group")
    return parent[name]


def _check_link(parent: h5py.Group, name: str) -> None:
    if not isinstance(parent.get(name, getlink=True), h5py.HardLink):
        raise ValueError(f"{parent.name}/{name} points elsewhere; only what is in the file itself is read")


def _check_size(groups: Mapping[str, h5py.Group], actions: str) -> None:
    """Before anything is read: a small file can claim arrays that fill the memory."""
    claimed = 0
    for group in groups.values():
        observed = _group(group, "obs") if "obs" in group else {}
        for where, keys in ((group, (actions, "states")), (observed, tuple(observed))):
            for key in keys:
                if key in where and _is_vector(where, key):
                    claimed += where[key].size
    if claimed > MOST_NUMBERS:
        raise ValueError(f"it claims to hold {claimed:.2g} numbers, more than the {MOST_NUMBERS:.2g} that are read")


def _number(name: str) -> tuple[int, str]:
    digits = name.rpartition("_")[2]
    return int(digits) if digits.isdecimal() else -1, name


def _masks(group: h5py.Group) -> dict[str, list[str]]:
    return {key: _names(group, key) for key in group}


def _names(group: h5py.Group, key: str) -> list[str]:
    _check_link(group, key)
    dataset = group[key]
    text = isinstance(dataset, h5py.Dataset) and dataset.ndim == 1 and h5py.check_string_dtype(dataset.dtype)
    if not text or dataset.external or dataset.is_virtual:
        raise ValueError(f"mask/{key} is no list of names")
    return [name.decode(errors="replace") for name in dataset[:]]


def _rate_of(recording: Recording) -> int | None:
    """Control steps a second by the simulator's clock, with which a state begins; `None` where there is no such rate."""
    if recording.states is None or len(recording) < 2 or recording.states.shape[1] < 1:
        return None
    period = float(np.median(np.diff(recording.states[:, 0])))
    return round(1 / period) if np.isfinite(period) and 1e-3 < period < 10 else None

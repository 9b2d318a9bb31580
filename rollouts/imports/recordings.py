"""HDF5 files of demonstrations, as robomimic and robosuite's own collection script write them. Read as data, never run.

    data                    attributes: env_args (robomimic), or env and env_info (robosuite), JSON
    data/demo_N/actions     [T, 7]
    data/demo_N/states      [T, 1 + nq + nv], the simulator's, each before its action
    data/demo_N/obs/KEY     [T, n], observations (robomimic)

Sources: robomimic's dataset documentation ("Dataset Structure and Creation"), and robosuite's
`collect_human_demonstrations.py`.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

# A gigabyte; the largest of robomimic's low-dimensional files have some ten million.
MOST_NUMBERS = 2**27
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
        return {"actions": self.actions, **states, **{f"obs/{key}": value for key, value in self.observations.items()}}


@dataclass(frozen=True)
class RecordedFile:
    """All demonstrations of a file, in the order of their numbers.

    Attributes:
        path: the file's.
        sha256: its digest.
        environment: robosuite's name of the environment.
        version: of robosuite; empty if the file does not say.
        control_hz: control steps a second, or `None` if the file does not say.
        robot: its name; `None` if the file does not say.
        controller: what the file says of the arm's controller.
        recordings: the demonstrations.
    """

    path: Path
    sha256: str
    environment: str
    version: str
    control_hz: int | None
    robot: str | None
    controller: dict[str, Any]
    recordings: list[Recording]


def read_file(path: Path) -> RecordedFile:
    """Reads a whole file; what its numbers are like is for `paradp.rollouts.imports.defects` to say.

    Raises:
        ValueError: it is no such file, is cut short, lacks something, or holds what is no number; the message names what is
            wrong and where.
    """
    if not path.is_file():
        raise ValueError(f"{path} is not a file")
    try:
        with h5py.File(path, "r") as file, naming(path):
            data = _group(file, "data")
            environment, version, arguments = _environment(data)
            hz = _rate(arguments.get("control_freq"))
            names = sorted((name for name in data if name.startswith("demo")), key=_number)
            if not names:
                raise ValueError("it has no demonstrations: data/demo_0, data/demo_1, …")
            groups = {name: _group(data, name) for name in names}
            _check_size(groups)
            recordings = [_recording(group, name) for name, group in groups.items()]
    except (OSError, KeyError, RuntimeError, TypeError) as error:  # what h5py raises for damaged files
        raise ValueError(f"{path} is no HDF5 file that can be read, or is cut short: {error}") from error
    with path.open("rb") as raw:
        digest = hashlib.file_digest(raw, "sha256").hexdigest()
    robot, controller = _robot(arguments.get("robots")), _arm(arguments.get("controller_configs"))
    return RecordedFile(path, digest, environment, version, hz, robot, controller, recordings)


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Says of which file a complaint is."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _recording(group: h5py.Group, name: str) -> Recording:
    actions = _numbers(group, "actions", name)
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


def _environment(data: h5py.Group) -> tuple[str, str, dict[str, Any]]:
    """The environment's name, robosuite's version, and the arguments that it was made with."""
    try:
        attributes = dict(data.attrs)
        if "env_args" in attributes:
            told = json.loads(attributes["env_args"])
            version = told.get("env_version") or attributes.get("repository_version", "")
            return str(told["env_name"]), str(version), dict(told.get("env_kwargs", {}))
        if "env" in attributes:
            told = json.loads(attributes.get("env_info", "{}"))
            return str(attributes["env"]), str(attributes.get("repository_version", "")), dict(told)
    except (TypeError, KeyError, ValueError, AttributeError) as error:
        raise ValueError(f"what data says of its environment cannot be read: {error!r}") from error
    raise ValueError("data has neither env_args (robomimic) nor env (robosuite): the environment is unknown")


def _rate(hz: Any) -> int | None:
    if hz is None or (type(hz) in (int, float) and 0 < hz == int(hz)):
        return None if hz is None else int(hz)
    raise ValueError(f"the control rate must be a whole number, not {hz!r}")


def _robot(robots: Any) -> str | None:
    match robots:
        case str():
            return robots
        case [str(first)]:
            return first
        case [_, *_]:
            return " and ".join(map(str, robots))
    return None


def _check_size(groups: Mapping[str, h5py.Group]) -> None:
    """Before anything is read: a small file can claim arrays that fill the memory."""
    claimed = 0
    for group in groups.values():
        observed = _group(group, "obs") if "obs" in group else {}
        for where, keys in ((group, ("actions", "states")), (observed, tuple(observed))):
            for key in keys:
                if key in where and _is_vector(where, key):
                    claimed += where[key].size
    if claimed > MOST_NUMBERS:
        raise ValueError(f"it claims to hold {claimed:.2g} numbers, more than the {MOST_NUMBERS:.2g} that are read")


def _arm(controller: Any) -> dict[str, Any]:
    """Of robosuite's controller configurations, old and new, what moves the arm."""
    match controller:
        case [first, *_]:
            return _arm(first)
        case {"body_parts": {"right": dict(arm)}} | {"body_parts": {"arms": {"right": dict(arm)}}}:
            return arm
        case dict():
            return controller
    return {}


def _number(name: str) -> tuple[int, str]:
    digits = name.rpartition("_")[2]
    return int(digits) if digits.isdigit() else -1, name

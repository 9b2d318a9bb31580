"""Reads Minari's data sets in HDF5, `main_data.hdf5` with `metadata.json` beside it, without executing code from them.

    episode_N/observations          [T + 1, n] or images, or a (nested) group with one such array for each key
    episode_N/actions               [T, A]
    episode_N/terminations          [T]

The last observation, after the last action, is left out. Actions' limits come from the action space in `metadata.json`;
information that the data lack, such as the control rate, comes from `paradp.yaml`, see `paradp.bridges.Facts`.

Source: `minari/dataset/_storages/hdf5_storage.py` in Farama-Foundation/Minari.
"""

import re
from collections.abc import Collection, Iterator, Mapping
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from paradp.bridges.data_facts import info_of, named, parts_of
from paradp.bridges.facts import Facts, read_facts
from paradp.policy.data.episode import DemonstrationEpisode, DemonstrationInfo
from paradp.policy.files import hdf5
from paradp.policy.files.image_arrays import as_bytes
from paradp.policy.files.limits import DOCUMENT_BYTES, MOST_EPISODES, within
from paradp.policy.files.memory import check_fits
from paradp.policy.files.reading import check_inside, parse_json, read_object

if TYPE_CHECKING:
    import h5py

FILE, METADATA = "main_data.hdf5", "metadata.json"
ACTIONS, OBSERVATIONS = "actions", "observations"
_EPISODE = re.compile(r"episode_(\d+)")
_DEEPEST = 4  # nesting depth of groups of observations


def minari_file(path: Path) -> Path | None:
    """Finds the HDF5 file of a data set, from the file or from a folder that contains it; `None` for anything else."""
    candidates = [path] if path.is_file() else [path / FILE, path / "data" / FILE]
    return next((one for one in candidates if one.name == FILE and one.is_file()), None)


class MinariData:
    """A data set of Minari, for import. `open` makes one.

    Attributes:
        path: the HDF5 file.
        shapes: for each key, also the actions', `(n,)` of a vector, or height, width and channels of an image.
        lengths: number of steps of each episode.
    """

    def __init__(
        self, path: Path, episodes: list[str], shapes: dict[str, tuple[int, ...]], lengths: list[int], facts: Facts
    ):
        self.path, self.shapes, self.lengths = path, shapes, lengths
        self.parts = parts_of(path, {key: shape for key, shape in shapes.items() if key != ACTIONS}, facts)
        self._episodes, self._facts = episodes, facts

    @classmethod
    def open(
        cls, path: Path, facts: Mapping[str, Any] | None = None, task: str | None = None, keys: Collection[str] = ()
    ) -> "MinariData":
        """Opens a data set and checks the structure of all episodes; their numbers are read later.

        Args:
            path: the HDF5 file, or a folder that contains it.
            facts: information that it lacks, see `paradp.bridges.Facts`; facts not given are read from its `paradp.yaml`.
            task: name of the task, if neither contains it.
            keys: the observations to read, nested ones with their groups, such as `camera/front`; by default all.

        Raises:
            ValueError: the file is not a Minari data set or is damaged, or an observation is missing or of an unsupported
                kind.
        """
        file = minari_file(path)
        if file is None:
            raise ValueError(f"{path} is not a data set of Minari: it holds no {FILE}")
        if path.is_dir():
            check_inside(file, path)
        known = read_facts(file, facts).filled(Facts(task=task)).filled(_limits(file.with_name(METADATA))).keeping(keys)
        with hdf5.open_hdf5(file) as opened:
            names = sorted(filter(_EPISODE.fullmatch, opened), key=lambda name: int(name.rpartition("_")[2]))
            within("the number of episodes", len(names), 1, MOST_EPISODES)
            hdf5.check_places(opened, names, OBSERVATIONS, _DEEPEST)
            wanted = keys or known.observation or ()
            arrays = [_arrays(hdf5.group(opened, name), name, wanted) for name in names]
            for name, found in zip(names, arrays, strict=True):
                _check_same(names[0], arrays[0], name, found)
            hdf5.check_size([array for found in arrays for array in found.values() if array.ndim == 2])
            shapes = {key: tuple(array.shape[1:]) for key, array in arrays[0].items()}
            lengths = [len(found[ACTIONS]) for found in arrays]
        return cls(file, names, shapes, lengths, known)

    @property
    def info(self) -> DemonstrationInfo:
        """The description of the data set; raises a ValueError that names missing facts."""
        action = (ACTIONS, self.shapes[ACTIONS][0])
        return info_of(self.path, self.parts, self.shapes, action, self._facts, {"dataset": "Minari"})

    @property
    def episode_ends(self) -> np.ndarray:
        """Cumulative steps, `[episodes]`."""
        return np.cumsum(self.lengths)

    def episodes(self) -> Iterator[DemonstrationEpisode]:
        """Yields the episodes, holding only one in memory at a time.

        Raises:
            ValueError: numbers are damaged or not finite, images are floats that are not pixel values, or memory does not
                suffice for an episode.
        """
        return map(self.episode, range(len(self.lengths)))

    def episode(self, index: int) -> DemonstrationEpisode:
        """Reads one episode; errors as of `episodes`."""
        name, steps = self._episodes[index], self.lengths[index]
        with hdf5.open_hdf5(self.path) as file:
            arrays = _arrays(hdf5.group(file, name), name, [key for key in self.shapes if key != ACTIONS])
            check_fits(sum(2 * array.nbytes for array in arrays.values()), f"the observations of {name}")
            read = {key: _read(array[:steps], f"{name}/{key}") for key, array in arrays.items()}
        actions = read.pop(ACTIONS)
        return DemonstrationEpisode(named(self.parts, read), actions, actions, index)


def _read(values: np.ndarray, where: str) -> np.ndarray:
    if values.ndim == 4:
        return as_bytes(values, where)
    found = values.astype(np.float32)
    if (wrong := np.argwhere(~np.isfinite(found))).size:
        raise ValueError(f"{where} is not finite in step {wrong[0, 0]}")
    return found


def _arrays(group: "h5py.Group", name: str, wanted: Collection[str]) -> "dict[str, h5py.Dataset]":
    """Finds the arrays of an episode's observations and actions and checks their shapes, without reading them."""
    actions = hdf5.numbers(group, ACTIONS, name)
    names = _names(group, OBSERVATIONS, _DEEPEST)
    if lacking := [key for key in wanted if key not in names]:
        raise ValueError(f"{name} lacks the observation {lacking[0]!r:.80}; it has: {', '.join(names) or 'none'}")
    found = {}
    for key in wanted or names:
        parent, inner = names[key]
        array = hdf5.numbers_or_images(parent, inner, name)
        if len(array) not in (len(actions), len(actions) + 1):
            raise ValueError(f"{name}/{key} has {len(array)} steps, its actions have {len(actions)}")
        found[key] = array
    if not found or not len(actions):
        raise ValueError(f"{name} has no {'observations' if len(actions) else 'actions'}")
    return {**found, ACTIONS: actions}


def _names(parent: "h5py.Group", name: str, deep: int, prefix: str = "") -> "dict[str, tuple[h5py.Group, str]]":
    """Maps each key to the place of its array. A single array has the key `observation`; nested keys are joined by /."""
    import h5py

    link = parent.get(name, getlink=True)
    if not isinstance(link, h5py.HardLink):
        raise ValueError(f"{parent.name}/{name} is missing, or is a link; links are not followed")
    if not isinstance(parent[name], h5py.Group):
        return {prefix or "observation": (parent, name)}
    if not deep:
        raise ValueError(f"{parent.name}/{name} is nested more than {_DEEPEST} deep")
    inner = hdf5.group(parent, name)
    found: dict[str, tuple[h5py.Group, str]] = {}
    for key in inner:
        found |= _names(inner, key, deep - 1, f"{prefix}/{key}" if prefix else key)
    return found


def _check_same(first: str, expected: "dict[str, h5py.Dataset]", name: str, found: "dict[str, h5py.Dataset]") -> None:
    for key in expected.keys() | found.keys():
        there, here = ([*one[key].shape[1:]] if key in one else "no" for one in (expected, found))
        if there != here:
            raise ValueError(f"{name} has {here} numbers or pixels a step in {key!r:.80}, {first} has {there}")


def _limits(path: Path) -> Facts:
    """Reads the limits of actions, if the metadata contain finite ones."""
    if not path.is_file():
        return Facts()
    text = read_object(path, DOCUMENT_BYTES).get("action_space")
    try:
        space: Any = parse_json(text, constants=True) if isinstance(text, str) else text
        low, high = (tuple(float(one) for one in space[name]) for name in ("low", "high"))
    except (ValueError, KeyError, TypeError):  # another kind of action space
        return Facts()
    return Facts(action_low=low, action_high=high) if all(map(isfinite, (*low, *high))) else Facts()

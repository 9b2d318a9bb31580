"""Reads Diffusion Policy's data sets, groups in zarr's format 2, as training data.

    data/action           [steps, A]
    data/KEY              observations: [steps, n] numbers, or [steps, height, width, channels] images
    data/timestamp        [steps], seconds: no observation unless `paradp.yaml` names it
    meta/episode_ends     [episodes], cumulative steps

Source: `diffusion_policy/common/replay_buffer.py` in real-stanford/diffusion_policy. The group lacks the task, the control
rate and the limits of actions: a `paradp.yaml` in its folder contains them, see `paradp.bridges.Facts`.
"""

from collections.abc import Collection, Iterator, Mapping
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from paradp.bridges.data_facts import Parts, info_of, named, parts_of
from paradp.bridges.facts import Facts, read_facts
from paradp.policy.data.dataset import content_digest
from paradp.policy.data.episode import DemonstrationEpisode, DemonstrationInfo
from paradp.policy.data.image_defects import TIMES
from paradp.policy.files.image_arrays import as_bytes, image_shape
from paradp.policy.files.limits import MOST_EPISODES, MOST_FILES, MOST_VALUES, check_numbers, within
from paradp.policy.files.memory import check_fits
from paradp.policy.files.zarr2 import METADATA, Zarr2Array, check_stored

ACTION, ENDS = "action", "meta/episode_ends"


def is_diffusion_policy(path: Path) -> bool:
    """Whether a folder contains such a data set, judged by its metadata file."""
    return (path / ENDS / METADATA).is_file() and (path / "data").is_dir()


class DiffusionPolicyData:
    """A data set of Diffusion Policy, as a `StreamedDataset`. `open` makes one.

    Attributes:
        path: the folder.
        parts: for each observed key, the quantities in a vector with their lengths, or an image's name.
        shapes: for each observed key, `(n,)` of a vector, or height, width and channels of an image.
        episode_ends: `[episodes]`, cumulative steps.
    """

    def __init__(self, path: Path, arrays: Mapping[str, Zarr2Array], ends: np.ndarray, facts: Facts):
        self.path, self.episode_ends = path, ends
        self._arrays = dict(arrays)
        self.shapes = {key: _shape(array, key) for key, array in arrays.items()}
        self.parts = parts_of(path, {key: shape for key, shape in self.shapes.items() if key != ACTION}, facts)
        self._facts = facts
        steps = int(ends[-1])
        for key, array in arrays.items():
            if array.shape[0] != steps:
                raise ValueError(f"{path}: data/{key} has {array.shape[0]} steps, and its episodes have {steps}")
        _check_sizes(path, arrays)

    @classmethod
    def open(
        cls,
        path: Path,
        facts: Mapping[str, Any] | None = None,
        task: str | None = None,
        keys: Collection[str] = (),
    ) -> "DiffusionPolicyData":
        """Opens a data set; its arrays are read later.

        Args:
            path: the folder.
            facts: information that it lacks, see `paradp.bridges.Facts`; facts not given are read from its `paradp.yaml`.
            task: name of the task, if neither contains it.
            keys: the arrays to read as observations; by default those named in the facts, or all but the times.

        Raises:
            ValueError: the folder is not such a data set; an array is missing, damaged or of an unsupported kind; or the
                facts do not fit. The message names the array.
            OSError: a file cannot be read.
        """
        known = read_facts(path, facts).filled(Facts(task=task)).keeping(keys)
        there = _names(path)
        wanted = [*(keys or known.observation or [key for key in there if key not in (ACTION, TIMES)]), ACTION]
        if lacking := [key for key in wanted if key not in there]:
            raise ValueError(f"{path} lacks the array data/{lacking[0]:.80}; it has: {', '.join(there) or 'none'}")
        arrays = {key: Zarr2Array.open(path / "data" / key, path) for key in wanted}
        return cls(path, arrays, _ends(path), known)

    @property
    def info(self) -> DemonstrationInfo:
        """The description of the data set; raises a ValueError that names missing facts."""
        action = (ACTION, self.shapes[ACTION][0])
        made_with = {"dataset": "Diffusion Policy's zarr"}
        return info_of(self.path, self.parts, self.shapes, action, self._facts, made_with)

    def observations(self) -> dict[str, np.ndarray]:
        """Reads the observations of all episodes: feature → `[steps, *shape]`.

        Raises:
            ValueError: a chunk is missing or damaged, a number is not finite, or memory does not suffice.
        """
        images, steps = self.images(), int(self.episode_ends[-1])
        check_fits(sum(steps * prod(shape) for shape in images.shapes.values()), f"the images of {self.path}")
        found = {name: np.empty((steps, *shape), np.uint8) for name, shape in images.shapes.items()}
        images.fill(0, steps, found)
        return self._in_order(found | self.vectors())

    def vectors(self) -> dict[str, np.ndarray]:
        """Reads only the vectors of `observations`, without decoding images."""
        vectors: Parts = {key: said for key, said in self.parts.items() if not isinstance(said, str)}
        return named(vectors, {key: self._numbers(key) for key in vectors})

    def images(self) -> "Zarr2Images":
        """Reads images by step."""
        return Zarr2Images({name: self._arrays[key] for key, name in self.parts.items() if isinstance(name, str)})

    def actions(self) -> np.ndarray:
        """Reads the actions to learn, `[steps, A]`; errors as of `observations`."""
        return self._numbers(ACTION)

    def times(self) -> np.ndarray | None:
        """Reads the recorded time of each step in seconds, `[steps]` in float64; `None` if there are no such numbers."""
        if TIMES not in _names(self.path):
            return None
        array = Zarr2Array.open(self.path / "data" / TIMES, self.path)
        if prod(array.shape) != len(self) or array.dtype.kind not in "iuf":
            return None
        check_stored([array], str(array.folder))
        check_fits(2 * array.dtype.itemsize * len(self), f"the numbers of {array.folder}")
        return array.read().reshape(-1).astype(np.float64)

    def digest(self) -> str:
        """The hash of the content; equals that of demonstrations in paradp's format with the same content."""
        return content_digest(self)

    def episodes(self) -> Iterator[DemonstrationEpisode]:
        """Yields the episodes, holding only one in memory at a time; errors as of `observations`."""
        images, vectors, actions, begin = self.images(), self.vectors(), self.actions(), 0
        for index, end in enumerate(map(int, self.episode_ends)):
            needed = sum((end - begin) * prod(shape) for shape in images.shapes.values())
            check_fits(needed, f"the images of episode {index} of {self.path}")
            seen = {name: np.empty((end - begin, *shape), np.uint8) for name, shape in images.shapes.items()}
            images.fill(begin, end, seen)
            here = seen | {key: values[begin:end] for key, values in vectors.items()}
            yield DemonstrationEpisode(self._in_order(here), actions[begin:end], actions[begin:end], index)
            begin = end

    def _in_order(self, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        names = [name for said in self.parts.values() for name in ([said] if isinstance(said, str) else said)]
        return {name: arrays[name] for name in names}

    def _numbers(self, key: str) -> np.ndarray:
        array = self._arrays[key]
        check_fits(2 * array.dtype.itemsize * prod(array.shape), f"the numbers of {array.folder}")
        found = array.read().reshape(len(self), *self.shapes[key]).astype(np.float32)
        if (wrong := np.argwhere(~np.isfinite(found))).size:
            raise ValueError(f"{array.folder} is not finite in step {wrong[0, 0]}")
        return found

    def __len__(self) -> int:
        """The number of steps of all episodes together."""
        return int(self.episode_ends[-1])


class Zarr2Images:
    """Reads images from arrays in zarr's format 2: an `ImageSource`.

    Args:
        arrays: name → the array of a camera.
    """

    def __init__(self, arrays: Mapping[str, Zarr2Array]):
        self._arrays = dict(arrays)
        self.shapes = {name: array.shape[1:] for name, array in arrays.items()}

    def fill(self, begin: int, end: int, out: Mapping[str, np.ndarray]) -> None:
        """See `ImageSource`; only one chunk is in memory at a time."""
        for name, values in out.items():
            array = self._arrays[name]
            at = begin
            while at < end:
                until = min(end, (at // array.chunks[0] + 1) * array.chunks[0])
                values[at - begin : until - begin] = as_bytes(array.read(at, until), f"{array.folder}")
                at = until

    def close(self) -> None:
        """See `ImageSource`; files are never kept open."""


def _names(path: Path) -> list[str]:
    if not is_diffusion_policy(path):
        raise ValueError(f"{path} is not a data set of Diffusion Policy: it lacks {ENDS} in zarr's format 2")
    found = [folder.name for folder in sorted((path / "data").iterdir()) if (folder / METADATA).is_file()]
    within(f"the number of arrays in {path}", len(found), 0, MOST_FILES)
    return found


def _ends(path: Path) -> np.ndarray:
    array = Zarr2Array.open(path / ENDS, path)
    if len(array.shape) != 1 or array.dtype.kind not in "iu" or not 1 <= array.shape[0] <= MOST_EPISODES:
        raise ValueError(f"{path}: {ENDS} does not list from 1 to {MOST_EPISODES} episodes")
    ends = array.read()
    if ends[0] < 1 or (ends[1:] <= ends[:-1]).any() or ends[-1] > 2**62:
        raise ValueError(f"{path}: {ENDS} is damaged: the ends of the episodes do not increase")
    return ends.astype(np.int64)


def _check_sizes(path: Path, arrays: Mapping[str, Zarr2Array]) -> None:
    """Compares the declared sizes with the bytes on disk: of all numbers together, and of each camera's images."""
    numbers = [array for array in arrays.values() if len(array.shape) != 4]
    check_numbers(sum(prod(array.shape) for array in numbers), str(path))
    check_stored(numbers, str(path))
    for array in arrays.values():
        if len(array.shape) == 4:
            check_stored([array], str(array.folder))


def _shape(array: Zarr2Array, key: str) -> tuple[int, ...]:
    if len(array.shape) == 4:
        if key == ACTION:
            raise ValueError(f"{array.folder} holds images, not actions")
        return image_shape(array.shape, array.dtype, str(array.folder))
    check_numbers(prod(array.shape), str(array.folder))
    # One number per step becomes a vector of length 1; a list of points becomes a vector of all their coordinates.
    size = prod(array.shape[1:])
    within(f"the length of {array.folder}", size, 1, MOST_VALUES)
    return (size,)

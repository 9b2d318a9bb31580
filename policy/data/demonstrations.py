"""Demonstrations on disk. Episodes can be appended, and a killed append does no harm; for the format see `layout.py`."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from paradp.policy.data.dataset import content_digest
from paradp.policy.data.episode import DemonstrationEpisode, DemonstrationInfo
from paradp.policy.data.layout import ACTIONS, ENDS, EXECUTED, NEWEST, SEEDS, Layout
from paradp.policy.features import observed_features
from paradp.policy.files import OutputLock
from paradp.policy.files.memory import check_fits
from paradp.policy.files.writing import link_target, naming_file
from paradp.policy.files.zarr_store import StoredArray, append, check_store, create_store, open_store
from paradp.policy.identity import check_same, describe

if TYPE_CHECKING:
    import zarr


class Demonstrations:
    """A zarr group of demonstrations, opened for reading or appending: a `StreamedDataset`.

    `open` and `open_or_create` make one.
    """

    def __init__(self, group: "zarr.Group", path: Path, layout: Layout):
        self._group = group
        self._layout = layout
        self._lock: OutputLock | None = None
        self._cut_short = False
        self._ends: np.ndarray | None = None
        self.path = path
        self.info = layout.info

    @classmethod
    def open(cls, path: Path, mode: Literal["r", "r+"] = "r") -> "Demonstrations":
        """Opens demonstrations for reading, after checking everything except the numbers themselves.

        Raises:
            ValueError: the path holds no demonstrations, or they are damaged or have something unsupported, which the
                message names.
        """
        try:
            group, arrays = open_store(path, mode)
            demonstrations = cls(group, path, Layout.of(group))
            if mode == "r":
                demonstrations._check_snapshot(arrays)
            else:
                demonstrations._check(arrays)
        except (OSError, KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{path} holds no demonstrations that can be read: {error}") from error
        return demonstrations

    @classmethod
    def open_or_create(cls, path: Path, info: DemonstrationInfo) -> "Demonstrations":
        """Continues demonstrations with the same description, or starts them, and locks them until `close`.

        Raises:
            ValueError: the path holds demonstrations with another description, or another process appends to them.
        """
        if path.exists():
            cls._open_same(path, info, "r")  # before locking, so that a refused folder is not touched
        lock = OutputLock.beside(path)
        try:
            demonstrations = cls._continue(path, info) if path.exists() else cls.create(path, info)
        except BaseException:
            lock.release()
            raise
        demonstrations._lock = lock
        return demonstrations

    @classmethod
    def _continue(cls, path: Path, info: DemonstrationInfo) -> "Demonstrations":
        demonstrations = cls._open_same(path, info, "r+")
        with naming_file(path):
            demonstrations._truncate()
        return demonstrations

    @classmethod
    def _open_same(cls, path: Path, info: DemonstrationInfo, mode: Literal["r", "r+"]) -> "Demonstrations":
        demonstrations = cls.open(path, mode)
        there, here = describe(demonstrations.info), describe(info)
        check_same(there, here, f"{path} holds other demonstrations", "choose another --out or remove it")
        return demonstrations

    def close(self) -> None:
        """Releases the lock, so that others can append. Reading remains possible."""
        if self._lock is not None:
            self._lock.release()

    @classmethod
    def create(cls, path: Path, info: DemonstrationInfo) -> "Demonstrations":
        """Creates demonstrations; the path must be free and locked."""
        place = link_target(path)
        partial = place.with_name(f".{place.name}.partial")
        layout = Layout(NEWEST, info)
        with naming_file(path):
            create_store(partial, layout.arrays(), layout.attributes())
            partial.rename(place)
        return cls.open(path, "r+")

    def append(self, episode: DemonstrationEpisode) -> None:
        """Adds one episode; it counts only when it is completely written.

        Raises:
            OSError: it cannot be written, such as on a full disk; those before it are kept.
        """
        with naming_file(self.path):
            if self._cut_short:
                self._truncate()
            self._cut_short = True
            self._append(episode)
            self._cut_short = False

    def _append(self, episode: DemonstrationEpisode) -> None:
        steps = self.steps + len(episode.actions)
        for key in self.info.observation:
            append(self._group, self._layout.place(key), episode.observations[key].astype(self._layout.dtype(key)))
        append(self._group, ACTIONS, episode.actions.astype(np.float32))
        append(self._group, EXECUTED, episode.executed.astype(np.float32))
        append(self._group, SEEDS, np.array([episode.seed]))
        append(self._group, ENDS, np.array([steps]))

    @property
    def episode_ends(self) -> np.ndarray:
        """Cumulative steps of the complete episodes, `[episodes]`; for a reader, of those that existed at opening."""
        if self._ends is not None:
            return self._ends.copy()
        ends = self._read(ENDS)
        # An interrupted append may have left an unfilled last entry.
        return ends[:-1] if len(ends) and ends[-1] == 0 else ends

    @property
    def seeds(self) -> np.ndarray:
        return self._read(SEEDS, len(self))

    @property
    def steps(self) -> int:
        ends = self.episode_ends
        return int(ends[-1]) if len(ends) else 0

    def __len__(self) -> int:
        """The number of complete episodes."""
        return len(self.episode_ends)

    def observations(self) -> dict[str, np.ndarray]:
        """All observations by feature, `[steps, *shape]` each, in the order of `info.observation`.

        Raises:
            ValueError: a chunk is damaged, or they do not fit into memory.
        """
        observed = observed_features(self.info.observation)
        needed = self.steps * sum(feature.size * feature.dtype.itemsize for feature in observed.values())
        check_fits(needed, f"the observations of {self.path}")
        return {key: self._read(self._layout.place(key), self.steps) for key in self.info.observation}

    def actions(self) -> np.ndarray:
        """The actions to learn: `[steps, A]`; errors as of `observations`."""
        return self._read(ACTIONS, self.steps)

    def vectors(self) -> dict[str, np.ndarray]:
        """Those of `observations` that are vectors; reads no image."""
        observed = observed_features(self.info.observation)
        return {key: self._read(self._layout.place(key), self.steps) for key in observed if observed[key].kind == "state"}

    def images(self) -> "StoredImages":
        """Reads images by step."""
        observed = observed_features(self.info.observation)
        return StoredImages(self.path, {key: one.shape for key, one in observed.items() if one.kind == "image"})

    def image_rows(self, key: str, begin: int, end: int) -> np.ndarray:
        """The images of some steps, `[end - begin, height, width, channels]`; errors as of `observations`."""
        return self._read(self._layout.place(key), end, begin)

    def digest(self) -> str:
        """The hash of the content that training reads: observations and actions in their order, and the episodes' ends."""
        return content_digest(self)

    def _read(self, name: str, end: int | None = None, start: int = 0) -> np.ndarray:
        try:
            return np.asarray(self._group[name][start:end])  # type: ignore[index]
        # Errors of decoders for invalid data.
        except (RuntimeError, ValueError, TypeError, OSError, KeyError) as error:
            raise ValueError(f"{self.path} is damaged: {name} cannot be read: {error}") from error

    def _check_snapshot(self, arrays: Mapping[str, StoredArray]) -> None:
        """Like `_check`, for a reader, which uses only the episodes at opening: another process may append more."""
        try:
            self._check(arrays, keep=True)
        except ValueError:
            # An episode may have been appended between reading the arrays' sizes and reading the ends. Ends are written
            # last, so now the arrays are long enough for them.
            self._check(check_store(self.path))

    def _check(self, arrays: Mapping[str, StoredArray], keep: bool = False) -> None:
        """Raises:
        ValueError: an array is missing, or does not match the attributes. Decodes only the episodes' ends.
        """
        self._layout.check(arrays)
        ends = self.episode_ends
        if keep:
            self._ends = ends
        self._layout.check_whole(arrays, ends)

    def _truncate(self) -> None:
        episodes, steps = len(self), self.steps
        for name, (row, _) in self._layout.rows.items():
            self._group[name].resize((steps, *row))  # type: ignore[union-attr]
        for name in (SEEDS, ENDS):
            self._group[name].resize((episodes,))  # type: ignore[union-attr]


class StoredImages:
    """The images of a group by step: an `ImageSource`.

    Args:
        path: the group; it is opened, and checked again, when an image is needed.
        shapes: height, width and channels of each camera's images.
    """

    def __init__(self, path: Path, shapes: Mapping[str, tuple[int, ...]]):
        self.shapes = dict(shapes)
        self._path = path
        self._opened: Demonstrations | None = None

    def fill(self, begin: int, end: int, out: Mapping[str, np.ndarray]) -> None:
        """See `ImageSource`."""
        if self._opened is None:
            self._opened = Demonstrations.open(self._path)
        for key, values in out.items():
            values[:] = self._opened.image_rows(key, begin, end)

    def close(self) -> None:
        """See `ImageSource`."""
        self._opened = None

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_opened": None}

"""Demonstrations on disk that can be appended to, killed and read back; `layout.py` says how they lie there."""

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
        """Opens what is there, after all of it was checked but for the numbers themselves.

        Raises:
            ValueError: the path holds no demonstrations, they are damaged, or they hold what is not read from outside; the
                message names what.
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
            ValueError: the path holds demonstrations that were made otherwise, or somebody else appends to them.
        """
        if path.exists():
            cls._open_same(path, info, "r")  # what is refused is not touched
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
        """Lets others append. What was read here can be read on."""
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
        """Adds one episode; it counts only once all of it is written.

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
        """Cumulative steps of the whole episodes, `[episodes]`; a reader's are those that were there when it opened them."""
        if self._ends is not None:
            return self._ends.copy()
        ends = self._read(ENDS)
        # An append that was cut short may have left a last entry that was never filled in.
        return ends[:-1] if len(ends) and ends[-1] == 0 else ends

    @property
    def seeds(self) -> np.ndarray:
        return self._read(SEEDS, len(self))

    @property
    def steps(self) -> int:
        ends = self.episode_ends
        return int(ends[-1]) if len(ends) else 0

    def __len__(self) -> int:
        """How many whole episodes there are."""
        return len(self.episode_ends)

    def observations(self) -> dict[str, np.ndarray]:
        """All observations by feature, `[steps, *shape]` each, in the order of `info.observation`.

        Raises:
            ValueError: a chunk of them is damaged, or the memory does not suffice for them.
        """
        observed = observed_features(self.info.observation)
        needed = self.steps * sum(feature.size * feature.dtype.itemsize for feature in observed.values())
        check_fits(needed, f"the observations of {self.path}")
        return {key: self._read(self._layout.place(key), self.steps) for key in self.info.observation}

    def actions(self) -> np.ndarray:
        """All labels: `[steps, A]`; errors as of `observations`."""
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
        """Of the content that training reads: observations and actions with their columns in order, and episodes' ends."""
        return content_digest(self)

    def _read(self, name: str, end: int | None = None, start: int = 0) -> np.ndarray:
        try:
            return np.asarray(self._group[name][start:end])  # type: ignore[index]
        # What decoders say of bytes that are not theirs.
        except (RuntimeError, ValueError, TypeError, OSError, KeyError) as error:
            raise ValueError(f"{self.path} is damaged: {name} cannot be read: {error}") from error

    def _check_snapshot(self, arrays: Mapping[str, StoredArray]) -> None:
        """As `_check`, for a reader, which keeps to the episodes at opening: another process may append more."""
        try:
            self._check(arrays, keep=True)
        except ValueError:
            # An episode may have been appended after the arrays were looked at, and before the ends were read. Ends are
            # written last: the arrays are long enough for them now.
            self._check(check_store(self.path))

    def _check(self, arrays: Mapping[str, StoredArray], keep: bool = False) -> None:
        """Raises:
        ValueError: an array is missing, or not as the attributes say; nothing but the episodes' ends was decoded.
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

"""Demonstrations on disk: one zarr 3 group that can be appended to, killed, and read back.

    data/obs/<key>      float32 [steps, size], every observation key
    data/action         float32 [steps, A], what a policy should learn
    data/executed       float32 [steps, A], what the robot was given
    meta/episode_ends   int64 [episodes], cumulative steps
    meta/seeds          int64 [episodes]

The attributes say which task, action convention and controller the numbers belong to. `episode_ends` is written last,
so that whatever an interrupted append left behind is cut off when the group is next opened.

A key is whatever its environment calls it: characters that a file's name should not have are percent-encoded. In the first
layout observations lay beside the actions, as `data/<key>`; such groups are read and continued as they are.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import quote

import numpy as np
from pydantic import TypeAdapter, ValidationError

from paradp.policy.errors import SettingError
from paradp.policy.files import OutputLock
from paradp.policy.files.limits import CHUNK_STEPS, MOST_EPISODES
from paradp.policy.files.reading import first_problem
from paradp.policy.files.writing import link_target, naming_file
from paradp.policy.files.zarr_store import StoredArray, append, check_store, create_store, open_store
from paradp.policy.identity import changed, describe, differences, digest
from paradp.policy.quantities import check_quantities

if TYPE_CHECKING:
    import zarr

_CHUNK_NUMBERS = 2**24
_LAYOUT = "layout"


@dataclass(frozen=True)
class DemonstrationInfo:
    """What a set of demonstrations was made with.

    Attributes:
        task: the task's name.
        action_convention: `"absolute"` or `"delta"`.
        observation: key → length, in the order that a policy concatenates them.
        action: quantity → length of the actions, in order.
        action_low, action_high: limits of every dimension of an action.
        control_hz: control steps per second.
        controller: gains of the low-level controller.
        made_with: how the demonstrations were produced: expert, disturbance, versions.

    Raises:
        ValueError: as `paradp.policy.quantities.check_quantities`.
    """

    task: str
    action_convention: str
    observation: dict[str, int]
    action: dict[str, int]
    action_low: tuple[float, ...]
    action_high: tuple[float, ...]
    control_hz: int
    controller: dict[str, float]
    made_with: dict[str, Any]

    def __post_init__(self) -> None:
        check_quantities(self.observation, self.action, self.action_low, self.action_high, self.control_hz)


_INFO = TypeAdapter(DemonstrationInfo)


@dataclass(frozen=True)
class DemonstrationEpisode:
    """One episode: observations key → `[steps, size]`, labels and executed actions `[steps, A]`, and its seed."""

    observations: Mapping[str, np.ndarray]
    actions: np.ndarray
    executed: np.ndarray
    seed: int


class Demonstrations:
    """A zarr group of demonstrations, opened for reading or appending; `open` and `open_or_create` make one."""

    def __init__(self, group: "zarr.Group", path: Path, info: DemonstrationInfo, layout: int):
        self._group = group
        self._layout = layout
        self._lock: OutputLock | None = None
        self._cut_short = False
        self._ends: np.ndarray | None = None
        self.path = path
        self.info = info

    @classmethod
    def open(cls, path: Path, mode: Literal["r", "r+"] = "r") -> "Demonstrations":
        """Opens what is there, after all of it was checked but for the numbers themselves.

        Raises:
            ValueError: the path holds no demonstrations, they are damaged, or they hold what is not read from outside; the
                message names what.
        """
        try:
            group, arrays = open_store(path, mode)
            demonstrations = cls(group, path, _read_info(group), group.attrs.get(_LAYOUT, 1))
            if mode == "r":
                demonstrations._check_snapshot(arrays)
            else:
                demonstrations._check(arrays)
        except (OSError, KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{path} holds no demonstrations that can be read: {error}") from error
        return demonstrations

    @classmethod
    def open_or_create(cls, path: Path, info: DemonstrationInfo) -> "Demonstrations":
        """Continues demonstrations of the same making, or starts them; nobody else can append to them until `close`.

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
        sides = describe(demonstrations.info), describe(info)
        if differing := differences(*sides):
            said = f"{path} holds other demonstrations ({differing}); choose another --out or remove it"
            raise SettingError(said, *changed(*sides))
        return demonstrations

    def close(self) -> None:
        """Lets others append. What was read here can be read on."""
        if self._lock is not None:
            self._lock.release()

    @classmethod
    def create(cls, path: Path, info: DemonstrationInfo) -> "Demonstrations":
        """Begins demonstrations at a path where there are none and nobody else writes."""
        place = link_target(path)
        partial = place.with_name(f".{place.name}.partial")
        arrays: dict[str, tuple[tuple[int, ...], str]] = {
            name: ((min(CHUNK_STEPS, _CHUNK_NUMBERS // size), size), "float32") for name, size in _sizes(info, 2).items()
        }
        arrays |= {f"meta/{name}": ((CHUNK_STEPS,), "int64") for name in ("episode_ends", "seeds")}
        with naming_file(path):
            create_store(partial, arrays, {**asdict(info), _LAYOUT: 2})
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
            append(self._group, _place(key, self._layout), episode.observations[key].astype(np.float32))
        append(self._group, "data/action", episode.actions.astype(np.float32))
        append(self._group, "data/executed", episode.executed.astype(np.float32))
        append(self._group, "meta/seeds", np.array([episode.seed]))
        append(self._group, "meta/episode_ends", np.array([steps]))

    @property
    def episode_ends(self) -> np.ndarray:
        """Cumulative steps of the whole episodes, `[episodes]`; a reader's are those that were there when it opened them."""
        if self._ends is not None:
            return self._ends.copy()
        ends = self._read("meta/episode_ends")
        # An append that was cut short may have left a last entry that was never filled in.
        return ends[:-1] if len(ends) and ends[-1] == 0 else ends

    @property
    def seeds(self) -> np.ndarray:
        return self._read("meta/seeds", len(self))

    @property
    def steps(self) -> int:
        ends = self.episode_ends
        return int(ends[-1]) if len(ends) else 0

    def __len__(self) -> int:
        """How many whole episodes there are."""
        return len(self.episode_ends)

    def observations(self) -> np.ndarray:
        """All observations, concatenated in the order of `info.observation`: `[steps, O]`.

        Raises:
            ValueError: a chunk of them is damaged.
        """
        places = [_place(key, self._layout) for key in self.info.observation]
        return np.concatenate([self._read(place, self.steps) for place in places], axis=-1)

    def actions(self) -> np.ndarray:
        """All labels: `[steps, A]`; errors as of `observations`."""
        return self._read("data/action", self.steps)

    def digest(self) -> str:
        """Of the content that training reads: observations and actions with their columns in order, and episodes' ends."""
        content = {"observations": self.observations(), "actions": self.actions(), "episode_ends": self.episode_ends}
        return digest(content)

    def largest_step(self) -> np.ndarray:
        """How far, at most, each dimension of an action is from the one before in its episode: `[A]`."""
        actions, ends = self.actions(), self.episode_ends
        steps = np.abs(np.diff(actions, axis=0))
        within = np.ones(len(steps), bool)
        within[ends[:-1] - 1] = False
        return steps[within].max(0, initial=0.0)

    def _read(self, name: str, rows: int | None = None) -> np.ndarray:
        try:
            return np.asarray(self._group[name][:rows])  # type: ignore[index]
        # What decoders say of bytes that are not theirs.
        except (RuntimeError, ValueError, TypeError, OSError, KeyError) as error:
            raise ValueError(f"{self.path} is damaged: {name} cannot be read: {error}") from error

    def _check_snapshot(self, arrays: Mapping[str, StoredArray]) -> None:
        """As `_check`, for a reader, who keeps to the episodes that it found: somebody may append to them meanwhile."""
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
        if self._layout not in (1, 2):
            raise ValueError(f"their layout {self._layout!r:.40} is of a later version")
        hidden = {"action", "executed"} & self.info.observation.keys()
        if self._layout == 1 and hidden:
            raise ValueError(f"the observation {min(hidden)!r} took the place of the actions; import or collect them again")
        sizes = _sizes(self.info, self._layout)
        for name, size in sizes.items():
            _check_kind(arrays, name, "float32", (size,))
        for name in ("meta/episode_ends", "meta/seeds"):
            _check_kind(arrays, name, "int64", ())
        if (episodes := arrays["meta/episode_ends"].shape[0]) > MOST_EPISODES:
            raise ValueError(f"they claim {episodes} episodes; at most {MOST_EPISODES} are read")
        ends = self.episode_ends
        if keep:
            self._ends = ends
        # Compared, not subtracted: a difference of 64-bit numbers can wrap around.
        if len(ends) and (ends[0] <= 0 or (ends[1:] <= ends[:-1]).any()):
            raise ValueError("they are damaged: the ends of the episodes do not increase")
        needed = {name: self.steps for name in sizes} | {f"meta/{name}": len(ends) for name in ("episode_ends", "seeds")}
        if short := [name for name, rows in needed.items() if arrays[name].shape[0] < rows]:
            raise ValueError(f"they are damaged: {', '.join(short)} end before the last episode does")
        # The first layout left out chunks of zeros.
        if self._layout > 1 and (lost := [name for name, rows in needed.items() if arrays[name].lacks(rows)]):
            raise ValueError(f"they are damaged: chunks of {', '.join(lost)} are missing")

    def _truncate(self) -> None:
        episodes, steps = len(self), self.steps
        for name, size in _sizes(self.info, self._layout).items():
            self._group[name].resize((steps, size))  # type: ignore[union-attr]
        for name in ("seeds", "episode_ends"):
            self._group[f"meta/{name}"].resize((episodes,))  # type: ignore[union-attr]


def _read_info(group: "zarr.Group") -> DemonstrationInfo:
    try:
        return _INFO.validate_python({key: group.attrs.get(key) for key in DemonstrationInfo.__dataclass_fields__})
    except ValidationError as error:
        raise ValueError(first_problem(error)) from error


def _check_kind(arrays: Mapping[str, StoredArray], name: str, dtype: str, row: tuple[int, ...]) -> None:
    if name not in arrays:
        raise ValueError(f"the array {name} is missing")
    found = arrays[name]
    if (found.dtype, found.shape[1:]) != (dtype, row):
        raise ValueError(f"the array {name} holds {found.dtype} {found.shape[1:]} a step, not {dtype} {row}")


def _place(key: str, layout: int) -> str:
    """Where an observation lies."""
    return f"data/{key}" if layout == 1 else f"data/obs/{quote(key, safe='').replace('.', '%2E')}"


def _sizes(info: DemonstrationInfo, layout: int) -> dict[str, int]:
    """Every array of numbers, with its width."""
    action_size = sum(info.action.values())
    observations = {_place(key, layout): size for key, size in info.observation.items()}
    return {**observations, "data/action": action_size, "data/executed": action_size}

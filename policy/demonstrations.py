"""Demonstrations on disk: one zarr 3 group that can be appended to, killed, and read back.

    data/<key>          float32 [steps, size], every observation key
    data/action         float32 [steps, A], what a policy should learn
    data/executed       float32 [steps, A], what the robot was given
    meta/episode_ends   int64 [episodes], cumulative steps
    meta/seeds          int64 [episodes]

The attributes say which task, action convention and controller the numbers belong to. `episode_ends` is written last,
so that whatever an interrupted append left behind is cut off when the group is next opened.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from paradp.policy.files import OutputLock
from paradp.policy.identity import describe, differences, digest

CHUNK_STEPS = 4096


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


@dataclass(frozen=True)
class DemonstrationEpisode:
    """One episode: observations key → `[steps, size]`, labels and executed actions `[steps, A]`, and its seed."""

    observations: Mapping[str, np.ndarray]
    actions: np.ndarray
    executed: np.ndarray
    seed: int


class Demonstrations:
    """A zarr group of demonstrations, opened for reading or appending."""

    def __init__(self, group: zarr.Group, path: Path):
        self._group = group
        self._lock: OutputLock | None = None
        self._cut_short = False
        self.path = path
        self.info = _read_info(group)

    @classmethod
    def open(cls, path: Path, mode: str = "r") -> "Demonstrations":
        """Opens what is there.

        Raises:
            ValueError: the path holds no demonstrations, or an array of them is missing or too short.
        """
        try:
            demonstrations = cls(zarr.open_group(path, mode=mode), path)  # type: ignore[arg-type]
            steps = demonstrations.steps
            lengths = {name: demonstrations._array(f"data/{name}").shape[0] for name in _data_sizes(demonstrations.info)}
        except (FileNotFoundError, KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{path} holds no demonstrations that can be read: {error}") from error
        if short := [name for name, length in lengths.items() if length < steps]:
            raise ValueError(f"{path} is damaged: {', '.join(short)} end before the last episode does")
        return demonstrations

    @classmethod
    def open_or_create(cls, path: Path, info: DemonstrationInfo) -> "Demonstrations":
        """Continues demonstrations of the same making, or starts them; nobody else can append to them until `close`.

        Raises:
            ValueError: the path holds demonstrations that were made otherwise, or somebody else appends to them.
        """
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
        demonstrations = cls.open(path, "r+")
        if differing := differences(describe(demonstrations.info), describe(info)):
            raise ValueError(f"{path} holds other demonstrations ({differing}); choose another --out or remove it")
        demonstrations._truncate()
        return demonstrations

    def close(self) -> None:
        """Lets others append. What was read here can be read on."""
        if self._lock is not None:
            self._lock.release()

    @classmethod
    def create(cls, path: Path, info: DemonstrationInfo) -> "Demonstrations":
        """Begins demonstrations at a path where there are none and nobody else writes."""
        partial = path.with_name(f".{path.name}.partial")
        group = zarr.open_group(partial, mode="w", zarr_format=3)
        for name, size in _data_sizes(info).items():
            group.create_array(f"data/{name}", shape=(0, size), chunks=(CHUNK_STEPS, size), dtype="float32")
        for name in ("episode_ends", "seeds"):
            group.create_array(f"meta/{name}", shape=(0,), chunks=(CHUNK_STEPS,), dtype="int64")
        group.attrs.update(asdict(info))
        partial.rename(path)
        return cls(zarr.open_group(path, mode="r+"), path)

    def append(self, episode: DemonstrationEpisode) -> None:
        """Adds one episode; it counts only once all of it is written.

        Raises:
            OSError: it cannot be written, such as on a full disk; those before it are kept.
        """
        if self._cut_short:
            self._truncate()
        self._cut_short = True
        arrays = {**episode.observations, "action": episode.actions, "executed": episode.executed}
        for name in _data_sizes(self.info):
            self._array(f"data/{name}").append(arrays[name].astype(np.float32))
        self._array("meta/seeds").append(np.array([episode.seed]))
        self._array("meta/episode_ends").append(np.array([self.steps + len(episode.actions)]))
        self._cut_short = False

    @property
    def episode_ends(self) -> np.ndarray:
        """Cumulative steps of the whole episodes, `[episodes]`."""
        ends = np.asarray(self._array("meta/episode_ends")[:])
        # An append that was cut short may have left a last entry that was never filled in.
        whole = np.diff(ends, prepend=0) > 0
        return ends[: int(whole.cumprod().sum())]

    @property
    def seeds(self) -> np.ndarray:
        return np.asarray(self._array("meta/seeds")[: len(self)])

    @property
    def steps(self) -> int:
        ends = self.episode_ends
        return int(ends[-1]) if len(ends) else 0

    def __len__(self) -> int:
        """How many whole episodes there are."""
        return len(self.episode_ends)

    def observations(self) -> np.ndarray:
        """All observations, concatenated in the order of `info.observation`: `[steps, O]`."""
        return np.concatenate([self._array(f"data/{key}")[: self.steps] for key in self.info.observation], axis=-1)

    def actions(self) -> np.ndarray:
        """All labels: `[steps, A]`."""
        return np.asarray(self._array("data/action")[: self.steps])

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

    def _array(self, name: str) -> zarr.Array:
        return self._group[name]  # type: ignore[return-value]

    def _truncate(self) -> None:
        episodes, steps = len(self), self.steps
        for name, size in _data_sizes(self.info).items():
            self._array(f"data/{name}").resize((steps, size))
        for name in ("seeds", "episode_ends"):
            self._array(f"meta/{name}").resize((episodes,))


def _read_info(group: zarr.Group) -> DemonstrationInfo:
    values: dict[str, Any] = {key: group.attrs[key] for key in DemonstrationInfo.__dataclass_fields__}
    limits = {key: tuple(values[key]) for key in ("action_low", "action_high")}
    return DemonstrationInfo(**{**values, **limits})


def _data_sizes(info: DemonstrationInfo) -> dict[str, int]:
    """Every array of `data/`, with its width."""
    action_size = sum(info.action.values())
    return {**info.observation, "action": action_size, "executed": action_size}

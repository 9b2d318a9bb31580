"""Converts recorded files to paradp's demonstrations."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import numpy as np

from paradp.envs import ACTION_CONVENTIONS, RobosuiteTask, find_task
from paradp.policy.data.demonstrations import Demonstrations
from paradp.policy.data.episode import DemonstrationEpisode, DemonstrationInfo
from paradp.policy.features import Shape
from paradp.policy.files.folders import new_folder
from paradp.rollouts.imports.conventions import convention_of
from paradp.rollouts.imports.defects import defects
from paradp.rollouts.imports.fitting import misfits, several_arms, task_of
from paradp.rollouts.imports.recordings import LOW_DIM_KEYS, RecordedFile, Recording, naming, read_images
from paradp.rollouts.imports.replay import HAND, Replay, as_actions, as_recorded

ObservationSource = Literal["replayed", "recorded"]


@dataclass(frozen=True)
class Imported:
    """The result of an import.

    Attributes:
        demonstrations: the new group.
        first_success: for each episode, the first step whose state fulfils the task's success rule, or `None`; empty if the
            states were not replayed.
        cut: number of goals that were too far from the hand for a delta, and were clipped.
    """

    demonstrations: Demonstrations
    first_success: list[int | None]
    cut: int


def import_file(
    file: RecordedFile,
    out: Path,
    task: str | None = None,
    action_convention: str = "absolute",
    observations: ObservationSource = "replayed",
    keys: Sequence[str] = LOW_DIM_KEYS,
    on_progress: Callable[[int], None] = lambda episodes: None,
) -> Imported:
    """Converts a file to demonstrations. `out` appears when it is complete; after an error, no files remain.

    Args:
        file: from `read_file`.
        out: the zarr group to make.
        task: the task of the demonstrations; by default the one named in the file.
        action_convention: the convention of the new demonstrations, see `paradp.envs.actions`.
        observations: `replayed`: the simulator is set to each recorded state, and observations are read from the task's
            environment, so that the trained policy runs there. `recorded`: the file's own observations, which may include
            images.
        keys: for `recorded`: the observations to import.
        on_progress: called with the number of finished episodes.

    Raises:
        ValueError: the file has defects or does not fit paradp's task, or another process writes `out`.
        OSError: `out` cannot be written.
    """
    task = task or task_of(file)
    replayed = observations == "replayed"
    # Observations that are not needed may have defects.
    needed = file.keeping((HAND,) if replayed else keys)
    if found := several_arms(task) or defects(needed) or misfits(file, task):
        raise ValueError(f"{file.path}: {found[0]}" + f" (and {len(found) - 1} more)" * (len(found) > 1))
    reader = _reader(file, task, action_convention, keys, replayed)
    try:
        info = _info(file, task, action_convention, reader.sizes)
        with new_folder(out) as folder:
            first_success, cut = _write(file, Demonstrations.create(folder, info), reader, on_progress)
    finally:
        reader.close()
    return Imported(Demonstrations.open(out), first_success if replayed else [], cut)


def _write(
    file: RecordedFile, out: Demonstrations, reader: "_FromStates | _FromFile", on_progress: Callable[[int], None]
) -> tuple[list[int | None], int]:
    """Writes all episodes; returns the first successful step of each, and the number of clipped goals."""
    first_success, cut = [], 0
    for index, recording in enumerate(file.recordings):
        with naming(file.path):
            read = reader.read(recording)
        out.append(DemonstrationEpisode(read.observations, read.actions, read.actions, index))
        first_success.append(read.success)
        cut += read.cut
        on_progress(index + 1)
    return first_success, cut


@dataclass(frozen=True)
class _Read:
    """One converted episode.

    Attributes:
        observations: key → `[T, …]`.
        actions: `[T, A]`.
        success: the first step whose state fulfils the task's success rule, if any.
        cut: number of clipped actions.
    """

    observations: dict[str, np.ndarray]
    actions: np.ndarray
    success: int | None = None
    cut: int = 0


def _reader(
    file: RecordedFile, task: str, action_convention: str, keys: Sequence[str], replayed: bool
) -> "_FromStates | _FromFile":
    """Returns the reader that makes episodes of recordings."""
    return _FromStates(file, task, action_convention) if replayed else _FromFile(file, action_convention, keys)


class _FromStates:
    """Makes an episode by replaying its recorded states."""

    def __init__(self, file: RecordedFile, task: str, wanted: str):
        ours = find_task(task).task
        if isinstance(ours, RobosuiteTask) and not ours.replayable:
            raise ValueError(f"{file.path}: recorded states lack a part of the scene of {task!r}; it cannot be replayed")
        self.sizes = ours.observation
        self._recorded, self._wanted, self._settings = convention_of(file), wanted, file.settings
        self._replay = Replay(task)

    def read(self, recording: Recording) -> _Read:
        replayed = self._replay.run(recording)
        success = int(replayed.success.argmax()) if replayed.success.any() else None
        if self._recorded == self._wanted == "delta":
            return _Read(replayed.observations, as_recorded(recording.actions, "delta"), success)
        goals = self._replay.goals(recording, self._recorded, self._settings, replayed)
        actions, cut = as_actions(goals, self._wanted, replayed)
        return _Read(replayed.observations, actions, success, cut)

    def close(self) -> None:
        self._replay.close()


class _FromFile:
    """Makes an episode with the file's own observations, also images, and its actions."""

    def __init__(self, file: RecordedFile, wanted: str, keys: Sequence[str]):
        recorded = convention_of(file)
        vectors: dict[str, Shape] = {key: values.shape[1] for key, values in file.recordings[0].observations.items()}
        there = vectors | file.images
        if recorded != wanted:
            raise ValueError(
                f"{file.path}: {recorded} actions can only be made {wanted} where observations are replayed;"
                f" use --action-convention {recorded}"
            )
        if recorded == "absolute" and file.settings.frame == "base":
            raise ValueError(
                f"{file.path}: goals in the frame of the robot's base can only be read where states are replayed"
            )
        if odd := [key for key in keys if key in file.unread]:
            raise ValueError(f"{file.path}: the observation {odd[0]!r} was not read: {file.unread[odd[0]]}")
        if lacking := [key for key in keys if key not in there]:
            raise ValueError(f"{file.path} lacks the observation {lacking[0]!r}; it has: {', '.join(there) or 'none'}")
        if not keys:
            raise ValueError(f"{file.path}: --keys must name an observation; it has: {', '.join(there) or 'none'}")
        self.sizes = {key: there[key] for key in keys}
        self._file, self._recorded = file, recorded

    def read(self, recording: Recording) -> _Read:
        images = read_images(self._file, recording.name, [key for key in self.sizes if key in self._file.images])
        vectors = {key: recording.observations[key].astype(np.float32) for key in self.sizes if key not in images}
        observations = {key: images[key] if key in images else vectors[key] for key in self.sizes}
        return _Read(observations, as_recorded(recording.actions, self._recorded))

    def close(self) -> None:
        pass


def _info(file: RecordedFile, task: str, action_convention: str, observation: Mapping[str, Shape]) -> DemonstrationInfo:
    convention = ACTION_CONVENTIONS[action_convention]
    return DemonstrationInfo(
        task=task,
        action_convention=action_convention,
        observation=dict(observation),
        action=convention.parts,
        action_low=tuple(convention.low.tolist()),
        action_high=tuple(convention.high.tolist()),
        control_hz=find_task(task).task.control_hz,
        controller=find_task(task).task.controller,
        made_with={
            "imported": file.path.name,
            "sha256": file.sha256,
            "environment": file.settings.environment,
            "robosuite": file.settings.version,
            "versions": {name: version(name) for name in ("robosuite", "mujoco", "numpy")},
        },
    )

"""From a file that others recorded to demonstrations of ours."""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np

from paradp.envs import ACTION_CONVENTIONS, RobosuiteTask, all_tasks, find_task
from paradp.envs.actions import MAX_STEP_M, MAX_STEP_RAD
from paradp.policy.demonstrations import DemonstrationEpisode, DemonstrationInfo, Demonstrations
from paradp.rollouts.imports.conventions import convention_of
from paradp.rollouts.imports.defects import defects
from paradp.rollouts.imports.recordings import LOW_DIM_KEYS, RecordedFile, Recording, naming
from paradp.rollouts.imports.replay import Replay, as_recorded, converted, keeps_turn

ObservationSource = Literal["replayed", "recorded"]


@dataclass(frozen=True)
class Imported:
    """What came of an import.

    Attributes:
        demonstrations: the new group.
        first_success: of each episode, the first step whose state fulfils the task's rule, `None` where none does; empty
            where the states were not replayed.
    """

    demonstrations: Demonstrations
    first_success: list[int | None]


def import_file(
    file: RecordedFile,
    out: Path,
    task: str | None = None,
    action_convention: str = "absolute",
    observations: ObservationSource = "replayed",
    keys: Sequence[str] = LOW_DIM_KEYS,
    on_progress: Callable[[int], None] = lambda episodes: None,
) -> Imported:
    """Makes demonstrations of a file; `out` appears when all of it is written.

    Args:
        file: from `read_file`.
        out: the zarr group to make.
        task: what the demonstrations are of; what the file says, by default.
        action_convention: of the new demonstrations, see `paradp.envs.actions`.
        observations: `replayed`: the simulator is put into each recorded state, and observations are those of the task's
            environment, in which a policy can then be run. `recorded`: the file's own, for training alone.
        keys: which of the file's own.
        on_progress: told how many episodes are done.

    Raises:
        ValueError: the file has defects, or is not of the task as it is here; nothing is written then.
    """
    task = task or _task_of(file)
    if out.exists():
        raise ValueError(f"{out} exists; choose another --out or remove it")
    if found := defects(file):
        raise ValueError(f"{file.path}: {found[0]}" + f" (and {len(found) - 1} more)" * (len(found) > 1))
    _check_fits(file, task)
    reader: _FromStates | _FromFile
    if observations == "replayed":
        reader = _FromStates(file, task, action_convention)
    else:
        reader = _FromFile(file, action_convention, keys)
    # What a killed import left behind is begun anew.
    partial = out.with_name(f".{out.name}.importing")
    shutil.rmtree(partial, ignore_errors=True)
    first_success = []
    try:
        demonstrations = Demonstrations.open_or_create(partial, _info(file, task, action_convention, reader.sizes))
        for index, recording in enumerate(file.recordings):
            with naming(file.path):
                seen, actions, success = reader.read(recording)
            demonstrations.append(DemonstrationEpisode(seen, actions, actions, index))
            first_success.append(success)
            on_progress(index + 1)
        partial.rename(out)
    finally:
        reader.close()
        shutil.rmtree(partial, ignore_errors=True)
    return Imported(Demonstrations.open(out), first_success if observations == "replayed" else [])


Read = tuple[dict[str, np.ndarray], np.ndarray, int | None]


class _FromStates:
    """Observations and actions of an episode by replaying its states."""

    def __init__(self, file: RecordedFile, task: str, wanted: str):
        self.sizes = find_task(task).task.observation
        self._recorded, self._wanted = convention_of(file), wanted
        self._keeps_turn = keeps_turn(file.version)
        self._replay = Replay(task)

    def read(self, recording: Recording) -> Read:
        replayed = self._replay.run(recording)
        actions = converted(recording.actions, self._recorded, self._wanted, replayed, self._keeps_turn)
        return replayed.observations, actions, int(replayed.success.argmax()) if replayed.success.any() else None

    def close(self) -> None:
        self._replay.close()


class _FromFile:
    """An episode's own observations and actions."""

    def __init__(self, file: RecordedFile, wanted: str, keys: Sequence[str]):
        recorded, there = convention_of(file), file.recordings[0].observations
        if recorded != wanted:
            raise ValueError(
                f"{file.path}: {recorded} actions can only be made {wanted} where observations are replayed;"
                f" ask for --action-convention {recorded}"
            )
        if lacking := [key for key in keys if key not in there]:
            raise ValueError(f"{file.path} lacks the observation {lacking[0]!r}; it has: {', '.join(there) or 'none'}")
        self.sizes = {key: there[key].shape[1] for key in keys}
        self._recorded = recorded

    def read(self, recording: Recording) -> Read:
        observations = {key: recording.observations[key].astype(np.float32) for key in self.sizes}
        return observations, as_recorded(recording.actions, self._recorded), None

    def close(self) -> None:
        pass


def _task_of(file: RecordedFile) -> str:
    for name, entry in all_tasks().items():
        if isinstance(entry.task, RobosuiteTask) and entry.task.robosuite_name == file.environment:
            return name
    raise ValueError(
        f"{file.path} is of {file.environment!r}, which is no task here; name one with --task: {', '.join(all_tasks())}"
    )


def _check_fits(file: RecordedFile, task: str) -> None:
    """Raises:
    ValueError: control rate, gains or scale of the recorded controller are not those of the task here.
    """
    entry = find_task(task)
    if not isinstance(entry.task, RobosuiteTask):
        raise ValueError(f"{file.path} was recorded in robosuite, and the task {task!r} is none of its")
    here: dict[str, Any] = {"control_hz": entry.task.control_hz, **entry.task.controller}
    if not entry.task.replayable:
        raise ValueError(f"{file.path}: recorded states do not say all of the scene of {task!r}; it cannot be replayed")
    here |= {"robot": "Panda", "type": "OSC_POSE"}
    if convention_of(file) == "delta":
        here["output_max"] = [MAX_STEP_M] * 3 + [MAX_STEP_RAD] * 3
        here["input_ref_frame"] = "base"
    else:
        here["input_ref_frame"] = "world"
    there = {**file.controller, "control_hz": file.control_hz, "robot": file.robot}
    for name, wanted in here.items():
        if there.get(name) is not None and not _same(there[name], wanted):
            raise ValueError(f"{file.path} was recorded with {name} {there[name]}, the task {task!r} has {wanted}")


def _same(there: Any, here: Any) -> bool:
    try:
        return bool(np.allclose(there, here))
    except (TypeError, ValueError):
        return there == here


def _info(file: RecordedFile, task: str, action_convention: str, observation: dict[str, int]) -> DemonstrationInfo:
    convention = ACTION_CONVENTIONS[action_convention]
    return DemonstrationInfo(
        task=task,
        action_convention=action_convention,
        observation=observation,
        action=convention.parts,
        action_low=tuple(convention.space.low.tolist()),
        action_high=tuple(convention.space.high.tolist()),
        control_hz=find_task(task).task.control_hz,
        controller=find_task(task).task.controller,
        made_with={
            "imported": file.path.name,
            "sha256": file.sha256,
            "environment": file.environment,
            "robosuite": file.version,
            "versions": {name: version(name) for name in ("robosuite", "mujoco", "numpy")},
        },
    )

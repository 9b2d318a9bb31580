"""Checks whether recorded demonstrations fit a task of paradp: scene, robot, controller, control rate."""

from typing import Any

import numpy as np

from paradp.envs import RobosuiteTask, all_tasks, find_task
from paradp.envs.actions import MAX_STEP_M, MAX_STEP_RAD
from paradp.rollouts.imports.conventions import convention_of
from paradp.rollouts.imports.recordings import RecordedFile


def task_of(file: RecordedFile) -> str:
    """Returns the task named in the file.

    Raises:
        ValueError: paradp has no such task.
    """
    for name, entry in all_tasks().items():
        if isinstance(entry.task, RobosuiteTask) and entry.task.robosuite_name == file.settings.environment:
            return name
    raise ValueError(
        f"{file.path} is of {file.settings.environment!r}, which is not a task of paradp; name one with --task:"
        f" {', '.join(all_tasks())}"
    )


def several_arms(task: str) -> list[str]:
    """Says that recordings for a task cannot be imported because it has several arms; empty if it has one."""
    ours = find_task(task).task
    if isinstance(ours, RobosuiteTask) and len(ours.hands) > 1:
        return [f"recordings of two arms cannot be imported (task {task!r})"]
    return []


def misfits(file: RecordedFile, task: str) -> list[str]:
    """Lists the differences between a file without defects and a task; empty if it fits."""
    ours = find_task(task).task
    if not isinstance(ours, RobosuiteTask):
        return [f"it was recorded in robosuite, and the task {task!r} is none of its"]
    environment = file.settings.environment
    if environment not in (known := (ours.robosuite_name, *ours.recorded_as)):
        return [f"it is of {environment!r}; the task {task!r} takes recordings of {' and '.join(known)}"]
    there, here = _told(file), _wanted(file, ours)
    return [
        f"it was recorded with {name} {there[name]}, the task {task!r} has {wanted}"
        for name, wanted in here.items()
        if there.get(name) is not None and not _same(there[name], wanted)
    ]


def untold(file: RecordedFile, task: str) -> list[str]:
    """Lists the settings that a file does not contain, so that the task's are assumed."""
    ours = find_task(task).task
    assert isinstance(ours, RobosuiteTask)
    there, here = _told(file), _wanted(file, ours)
    return [f"{name} {wanted}" for name, wanted in here.items() if there.get(name) is None]


def _told(file: RecordedFile) -> dict[str, Any]:
    settings = file.settings
    return {**settings.controller, "control_hz": settings.control_hz, "robot": settings.robot}


def _wanted(file: RecordedFile, task: RobosuiteTask) -> dict[str, Any]:
    """Returns the task's settings. Deltas are equal in the frames of world and base, which have the same orientation."""
    wanted: dict[str, Any] = {"control_hz": task.control_hz, **task.controller, "robot": "Panda", "type": "OSC_POSE"}
    if convention_of(file) == "delta":
        wanted["output_max"] = [MAX_STEP_M] * 3 + [MAX_STEP_RAD] * 3
    return wanted


def _same(there: Any, here: Any) -> bool:
    try:
        return bool(np.allclose(there, here))
    except (TypeError, ValueError):
        return there == here

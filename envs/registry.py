"""The registry of tasks: those of paradp, and those of other installed packages."""

import re
from functools import cache
from importlib.metadata import EntryPoint, entry_points

from paradp.envs.announcing import announce
from paradp.envs.lookup import find
from paradp.envs.task import TaskEntry

# Entry point group for packages with tasks; each entry point is a `TaskEntry`.
GROUP = "paradp.tasks"
TASKS: dict[str, TaskEntry] = {}
_brought: set[str] = set()
_NAME = re.compile(r"[A-Za-z0-9_-]+")


def register(entry: TaskEntry) -> None:
    """Registers a task here, and with gymnasium once that is imported.

    Raises:
        ValueError: the name, or the id that gymnasium gets, is taken; or the name has other characters than an id.
    """
    task = entry.task
    if task.name in TASKS:
        raise ValueError(f"two tasks have the name {task.name!r}")
    if not _NAME.fullmatch(task.name):
        raise ValueError(f"a task's name has letters, digits, - and _ only, and {task.name!r} has others")
    # gymnasium would replace the environment of the other task.
    if other := next((name for name, one in TASKS.items() if one.task.env_id == task.env_id), None):
        raise ValueError(f"the tasks {other!r} and {task.name!r} have the same id for gymnasium, {task.env_id}")
    TASKS[task.name] = entry
    announce(task)


def all_tasks() -> dict[str, TaskEntry]:
    """Every task by its name, those of installed packages too.

    Raises:
        ValueError: a task of an installed package cannot be loaded.
    """
    for point in _points():
        if point.value not in _brought:
            register(_load(point))
            _brought.add(point.value)
    return TASKS


def task_names() -> set[str]:
    """The names of all tasks, without loading those of installed packages: their entry points' names."""
    return {*TASKS, *(point.name for point in _points())}


@cache
def _points() -> tuple[EntryPoint, ...]:
    return tuple(entry_points(group=GROUP))


def _load(point: EntryPoint) -> TaskEntry:
    try:
        entry = point.load()
    except Exception as error:
        raise ValueError(f"the task {point.name!r} of {point.value} cannot be loaded: {error}") from error
    if not isinstance(entry, TaskEntry):
        raise ValueError(f"the task {point.name!r} of {point.value} is a {type(entry).__name__}, not a TaskEntry")
    return entry


def find_task(name: str) -> TaskEntry:
    """Finds a task by name.

    Raises:
        ValueError: the name is unknown; the message lists all names and the closest one.
    """
    return TASKS[name] if name in TASKS else find(all_tasks(), name, "task")

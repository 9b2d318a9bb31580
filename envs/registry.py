"""Tasks by their names: those that come with paradp, and those that other packages bring."""

from functools import cache
from importlib.metadata import EntryPoint, entry_points

from paradp.envs.announcing import announce
from paradp.envs.lookup import find
from paradp.envs.task import TaskEntry

# Of Python packages that bring tasks; each entry point is a `TaskEntry`.
GROUP = "paradp.tasks"
TASKS: dict[str, TaskEntry] = {}
_brought: set[str] = set()


def register(entry: TaskEntry) -> None:
    """Makes a task known here, and to gymnasium as soon as that is imported.

    Raises:
        ValueError: there is another one of that name.
    """
    task = entry.task
    if task.name in TASKS:
        raise ValueError(f"there are two tasks of the name {task.name!r}")
    TASKS[task.name] = entry
    announce(task)


def all_tasks() -> dict[str, TaskEntry]:
    """Every task by its name, those of installed packages too.

    Raises:
        ValueError: an installed package's task cannot be had.
    """
    for point in _points():
        if point.value not in _brought:
            register(_load(point))
            _brought.add(point.value)
    return TASKS


@cache
def _points() -> tuple[EntryPoint, ...]:
    return tuple(entry_points(group=GROUP))


def _load(point: EntryPoint) -> TaskEntry:
    try:
        entry = point.load()
    except Exception as error:
        raise ValueError(f"the task {point.name!r} of {point.value} cannot be had: {error}") from error
    if not isinstance(entry, TaskEntry):
        raise ValueError(f"the task {point.name!r} of {point.value} is a {type(entry).__name__}, not a TaskEntry")
    return entry


def find_task(name: str) -> TaskEntry:
    """The task of that name.

    Raises:
        ValueError: there is none; the message names those there are and the nearest.
    """
    return TASKS[name] if name in TASKS else find(all_tasks(), name, "task")

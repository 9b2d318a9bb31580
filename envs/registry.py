"""The registry of tasks: those of paradp, and those of other installed packages."""

from functools import cache
from importlib.metadata import EntryPoint, entry_points

from paradp.envs.announcing import announce
from paradp.envs.lookup import find
from paradp.envs.task import TaskEntry

# Entry point group for packages with tasks; each entry point is a `TaskEntry`.
GROUP = "paradp.tasks"
TASKS: dict[str, TaskEntry] = {}
_brought: set[str] = set()


def register(entry: TaskEntry) -> None:
    """Registers a task here, and with gymnasium once that is imported.

    Raises:
        ValueError: the name is already taken.
    """
    task = entry.task
    if task.name in TASKS:
        raise ValueError(f"two tasks have the name {task.name!r}")
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

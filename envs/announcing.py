"""Tells gymnasium of our tasks, whichever of the two is imported first, and without importing it.

Names, conventions and settings of tasks are needed where nothing is simulated, too, such as on a GPU node without gymnasium.
"""

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

from paradp.envs.task import Task

_GYMNASIUM = "gymnasium"


def announce(task: Task) -> None:
    """Registers a task's environment with gymnasium: now if that is imported, otherwise when it is."""
    if sys.modules.get(_GYMNASIUM):
        return _register(task)
    if _later not in sys.meta_path:
        sys.meta_path.insert(0, _later)
    _later.tasks.append(task)


def _register(task: Task) -> None:
    import gymnasium

    gymnasium.register(task.env_id, task.entry_point, max_episode_steps=task.max_steps, kwargs={"task": task})


class _Later(MetaPathFinder):
    """Sees gymnasium being imported; it is found and loaded as without this."""

    def __init__(self) -> None:
        self.tasks: list[Task] = []

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name != _GYMNASIUM:
            return None
        others = (finder for finder in sys.meta_path if finder is not self)
        spec = next(filter(None, (finder.find_spec(name, path, target) for finder in others)), None)
        if spec is None or spec.loader is None:
            return spec
        load = spec.loader.exec_module

        def load_and_register(module: ModuleType) -> None:
            load(module)
            if self in sys.meta_path:
                sys.meta_path.remove(self)
            while self.tasks:
                _register(self.tasks.pop(0))

        spec.loader.exec_module = load_and_register  # type: ignore[method-assign]
        return spec


_later = _Later()

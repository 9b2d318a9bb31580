"""Registers our tasks with gymnasium, whichever is imported first, without importing gymnasium.

Machines without a simulator or gymnasium, such as GPU nodes, also need the tasks' names, conventions and settings.
"""

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

from paradp.envs.task import Task

_GYMNASIUM = "gymnasium"


def announce(task: Task) -> None:
    """Registers a task's environment with gymnasium: at once if gymnasium is imported, otherwise on its import."""
    if sys.modules.get(_GYMNASIUM):
        return _register(task)
    if _later not in sys.meta_path:
        sys.meta_path.insert(0, _later)
    _later.tasks.append(task)


def _register(task: Task) -> None:
    import gymnasium

    gymnasium.register(task.env_id, task.entry_point, max_episode_steps=task.max_steps, kwargs={"task": task})


class _Later(MetaPathFinder):
    """An import hook that runs after gymnasium is imported; it does not change how gymnasium is found or loaded."""

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

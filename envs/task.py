"""What a task is to the rest of paradp, whatever simulates it."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

from paradp.envs.disturbances import find_disturbance
from paradp.envs.experts.expert import MakesExpert


@dataclass(frozen=True, kw_only=True)
class Task(ABC):
    """A task.

    Attributes:
        name: what a user types.
        success_rule: the task's own rule in words.
        max_steps: control steps until an episode is truncated.
        control_hz: control steps a second.
        conventions: what its actions may mean, see `paradp.envs.actions`; the first is the default.
        controller: gains of the low-level controller, which demonstrations depend on.
        entry_point: of the gymnasium environment. It is made with `task`, `action_convention`, `disturbance` and
            `render_mode`; observations are a dict of float32 vectors and uint8 images, and `info["success"]` says whether
            the rule holds. If it has a true `releases_gil`, its `step` lets go of Python's lock, and several are stepped at
            once in threads.
        simulator: which one it is, in words.
        packages: whose versions an episode depends on.
    """

    name: str
    success_rule: str
    max_steps: int
    control_hz: int
    conventions: tuple[str, ...]
    controller: dict[str, float]
    entry_point: str
    simulator: str
    packages: tuple[str, ...]

    @property
    @abstractmethod
    def observation(self) -> Mapping[str, int | tuple[int, int, int]]:
        """The keys of an observation in their order: the length of each float32 vector, or height, width and channels
        of each uint8 image."""

    @property
    @abstractmethod
    def things(self) -> tuple[str, ...]:
        """What is observed, in words."""

    @property
    def render_problem(self) -> str | None:
        """Why its environment cannot be filmed here, in words; `None` if it can."""
        return None

    @property
    def disturbances(self) -> tuple[str, ...]:
        """What may happen to its object, see `paradp.envs.disturbances`."""
        return ()

    def check_disturbance(self, name: str) -> None:
        """Raises:
        ValueError: there is no such disturbance, or it is none of this task's.
        """
        find_disturbance(name)
        if name not in self.disturbances:
            raise ValueError(
                f"the task {self.name!r} has no disturbance {name!r}; it has: {', '.join(self.disturbances) or 'none'}"
            )

    @property
    def env_id(self) -> str:
        """Of its gymnasium environment."""
        return f"paradp/{''.join(word.capitalize() for word in self.name.split('-'))}-v0"


@dataclass(frozen=True)
class TaskEntry:
    """A task and who demonstrates it, if anyone does."""

    task: Task
    expert: MakesExpert | None = None

    @property
    def demonstrator(self) -> MakesExpert:
        """The expert.

        Raises:
            ValueError: there is none.
        """
        if self.expert is None:
            raise ValueError(
                f"the task {self.task.name!r} has no expert; see `paradp data import` for recorded demonstrations"
            )
        return self.expert

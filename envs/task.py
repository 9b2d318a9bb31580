"""The description of a task, independent of its simulator."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

from paradp.envs.disturbances import find_disturbance
from paradp.envs.experts.expert import MakesExpert


@dataclass(frozen=True, kw_only=True)
class Task(ABC):
    """A task.

    Attributes:
        name: the name on the command line.
        success_rule: description of the success rule.
        max_steps: length limit of an episode in control steps.
        control_hz: control steps per second.
        conventions: possible action conventions, see `paradp.envs.actions`; the first is the default.
        controller: gains of the low-level controller, which demonstrations depend on.
        entry_point: entry point of the gymnasium environment. Its arguments are `task`, `action_convention`, `disturbance`
            and `render_mode`. Observations are a dict of float32 vectors and uint8 images, and `info["success"]` is the
            success rule. If `releases_gil` is true, its `step` releases Python's lock, and several environments are stepped
            in parallel threads.
        simulator: name of the simulator, for messages.
        packages: packages whose versions affect an episode.
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
        """Key → length of a float32 vector, or height, width and channels of a uint8 image, in order."""

    @property
    @abstractmethod
    def things(self) -> tuple[str, ...]:
        """The observed things, for messages."""

    @property
    def render_problem(self) -> str | None:
        """Why its environment cannot be filmed here; `None` if it can."""
        return None

    @property
    def disturbances(self) -> tuple[str, ...]:
        """Possible disturbances, see `paradp.envs.disturbances`."""
        return ()

    def check_disturbance(self, name: str) -> None:
        """Checks a disturbance.

        Raises:
            ValueError: it is unknown, or not possible for this task.
        """
        find_disturbance(name)
        if name not in self.disturbances:
            raise ValueError(
                f"the task {self.name!r} has no disturbance {name!r}; it has: {', '.join(self.disturbances) or 'none'}"
            )

    @property
    def env_id(self) -> str:
        """The id of its gymnasium environment."""
        return f"paradp/{''.join(word.capitalize() for word in self.name.split('-'))}-v0"


@dataclass(frozen=True)
class TaskEntry:
    """A task and its scripted expert, if it has one."""

    task: Task
    expert: MakesExpert | None = None

    @property
    def demonstrator(self) -> MakesExpert:
        """The class of the expert.

        Raises:
            ValueError: the task has none.
        """
        if self.expert is None:
            raise ValueError(
                f"the task {self.task.name!r} has no expert; see `paradp data import` for recorded demonstrations"
            )
        return self.expert

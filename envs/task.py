"""The description of a task, independent of its simulator."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import ClassVar

from paradp.envs.disturbances import find_disturbance
from paradp.envs.experts.expert import MakesExpert
from paradp.envs.lookup import find

# Key → length of a float32 vector, or height, width and channels of a uint8 image, in order.
Features = Mapping[str, int | tuple[int, int, int]]
STATE, IMAGE = "state", "image"


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
            in parallel threads. If there are several kinds of observations, it takes the name of one as `observation`, has
            an attribute `task`, and its `observe` returns the current observation of any kind.
        simulator: name of the simulator, for messages.
        packages: packages whose versions affect an episode.
        draws_when_asked: whether its environment takes `drawn=False`: observations then lack their images, and `draw`
            renders those of the current state on request.
    """

    draws_when_asked: ClassVar[bool] = False

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
    def observation(self) -> Features:
        """The features of the default observation."""

    @property
    def observations(self) -> Mapping[str, Features]:
        """All kinds of observations by name. The first is `observation`, on which the expert acts."""
        return {IMAGE if images(self.observation) else STATE: self.observation}

    def observed(self, kind: str | None) -> Features:
        """Returns the features of one kind of observation; `None` means the first.

        Raises:
            ValueError: the task has no observation of this name.
        """
        if kind is None:
            return self.observation
        return find(dict(self.observations), kind, "observation")

    def check_drawn(self, kind: str | None) -> None:
        """Checks that the images of an observation can be drawn on this machine.

        Raises:
            ValueError: the task has no observation of this name.
            OSError: they cannot be drawn; the message says what is missing.
        """
        if images(self.observed(kind)) and (problem := self.render_problem):
            raise OSError(f"the cameras of the task {self.name!r} cannot be rendered: {problem}")

    @property
    def simulated_hz(self) -> float:
        """Control steps that the simulator makes in a second of its own time, of which `control_hz` is the whole number."""
        return self.control_hz

    @property
    @abstractmethod
    def things(self) -> tuple[str, ...]:
        """The observed things, for messages."""

    @property
    def render_problem(self) -> str | None:
        """The reason why this machine cannot render its environment; `None` if it can."""
        return None

    @property
    def film_problem(self) -> str | None:
        """The reason why episodes cannot be filmed here; `None` if they can. Loads other packages' environments."""
        if self.installed_elsewhere:
            module, _, name = self.entry_point.partition(":")
            try:
                made_by = getattr(import_module(module), name)
            except (ImportError, AttributeError) as error:
                return f"the environment {self.entry_point} of the task {self.name!r} cannot be imported: {error}"
            metadata = getattr(made_by, "metadata", None)  # a function has none
            if metadata is not None and "rgb_array" not in (metadata.get("render_modes") or ()):
                return f"the class {self.entry_point} does not list the render mode rgb_array in its metadata"
        return self.render_problem

    @property
    def installed_elsewhere(self) -> bool:
        """Whether its environment belongs to another package."""
        return not self.entry_point.startswith("paradp.")

    @property
    def disturbances(self) -> tuple[str, ...]:
        """Possible disturbances, see `paradp.envs.disturbances`."""
        return ()

    def check_modes(self, action_convention: str, render_mode: str | None) -> None:
        """Checks settings that all environments of paradp have.

        Raises:
            ValueError: one of them is unknown.
        """
        if action_convention not in self.conventions:
            raise ValueError(f"unknown action convention {action_convention!r}; there are: {', '.join(self.conventions)}")
        if render_mode not in (None, "rgb_array"):
            raise ValueError(f"unknown render mode {render_mode!r}; there is: rgb_array")

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


def images(features: Features) -> tuple[str, ...]:
    """Those that are images."""
    return tuple(key for key, shape in features.items() if not isinstance(shape, int))


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

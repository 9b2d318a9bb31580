"""What a task is to the rest of paradp, whatever simulates it."""

from abc import ABC, abstractmethod
from dataclasses import dataclass


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
            `render_mode`; observations are a dict of float32 vectors, and `info["success"]` says whether the rule holds.
        simulator: which one it is, in words.
    """

    name: str
    success_rule: str
    max_steps: int
    control_hz: int
    conventions: tuple[str, ...]
    controller: dict[str, float]
    entry_point: str
    simulator: str

    @property
    @abstractmethod
    def observation(self) -> dict[str, int]:
        """The keys of an observation in their order, with the length of each vector."""

    @property
    @abstractmethod
    def things(self) -> tuple[str, ...]:
        """What is observed, in words."""

    @property
    def disturbances(self) -> tuple[str, ...]:
        """What may happen to its object, see `paradp.envs.disturbances`."""
        return ()

    @property
    def env_id(self) -> str:
        """Of its gymnasium environment."""
        return f"paradp/{''.join(word.capitalize() for word in self.name.split('-'))}-v0"

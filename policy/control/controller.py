"""The controller interface: one observation in, one command out, per control step."""

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from paradp.policy.observations import Observation
from paradp.policy.plan_stats import PlanStats


@dataclass(frozen=True)
class Replan:
    """The plan that was made in a control step.

    Attributes:
        stats: its cost.
        lateness: control steps from the observation until the chunk could be executed.
        actions: `[K, A]`, the chunk, from the control step of that observation on; `None` if read from a file.
        ago: how many control steps before the one of its command the observation was.
    """

    stats: PlanStats
    lateness: int = 0
    actions: np.ndarray | None = field(default=None, compare=False, repr=False)
    ago: int = field(default=0, compare=False)


@dataclass(frozen=True)
class Command:
    """An action `[A]` for one control step.

    Attributes:
        action: the action to execute; a copy, which the caller may modify.
        replan: the plan made from this step's observation, if any.
        held: there was no action to execute, so the command holds the robot's position.
        late: in this step the next chunk was due (Ta actions of the last one were executed), and had not arrived.
    """

    action: np.ndarray
    replan: Replan | None = None
    held: bool = False
    late: bool = False

    def __post_init__(self) -> None:
        # A copy: callers may convert units in place, which must not change the controller's own array; and arrays from a
        # server or a tensor may be read-only.
        object.__setattr__(self, "action", np.array(self.action))


class HasAction(Protocol):
    """The part of a command that the control loop needs."""

    @property
    def action(self) -> np.ndarray:
        """The action to execute, `[A]`."""
        ...


class Controller(Protocol):
    """Drives one robot: a policy over a receding horizon, a scripted expert, a policy on another machine."""

    def reset(self, seed: int | None = None) -> None:
        """Begins an episode. A seed makes the noise reproducible."""
        ...

    def act(self, observation: Observation) -> HasAction:
        """Returns the command for this control step, given its observation."""
        ...


class Hold(Protocol):
    """Returns the action that holds the robot's position, given the last action `[A]` (`None` before the first)."""

    def __call__(self, last: np.ndarray | None, observation: Observation) -> np.ndarray: ...

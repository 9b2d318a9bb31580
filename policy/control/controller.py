"""What drives a robot: one observation a control step in, one command out."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from paradp.policy.observations import Observation
from paradp.policy.plan_stats import PlanStats


@dataclass(frozen=True)
class Replan:
    """A plan behind a command.

    Attributes:
        stats: what it took.
        lateness: control steps from the observation until the chunk could be executed.
    """

    stats: PlanStats
    lateness: int = 0


@dataclass(frozen=True)
class Command:
    """An action `[A]` for one control step.

    Attributes:
        action: what the robot should do: a copy, which the caller may keep and write to.
        replan: what was planned from this step's observation, if anything was.
        held: there was no action to execute, and the robot is told to stay.
        late: Ta actions of a chunk are executed since the last control step, and the next one is not there.
    """

    action: np.ndarray
    replan: Replan | None = None
    held: bool = False
    late: bool = False

    def __post_init__(self) -> None:
        # What a controller remembers must not change when the caller converts units in place; a plan that came from a
        # server or from a tensor may be read-only.
        object.__setattr__(self, "action", np.array(self.action))


class HasAction(Protocol):
    """What the loop needs of a command."""

    @property
    def action(self) -> np.ndarray: ...


class Controller(Protocol):
    """Drives one robot: a policy over a receding horizon, a scripted expert, a policy on another machine."""

    def reset(self, seed: int | None = None) -> None: ...

    def act(self, observation: Observation) -> HasAction: ...


class Hold(Protocol):
    """The action that keeps a robot where it is, from the last action `[A]` it was given (`None` at first)."""

    def __call__(self, last: np.ndarray | None, observation: Observation) -> np.ndarray: ...

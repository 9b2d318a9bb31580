"""What drives a robot: one observation a control step in, one command out."""

from dataclasses import astuple, dataclass
from typing import Protocol

import numpy as np

from paradp.policy.observations import Observation
from paradp.policy.requests import Chunk


@dataclass(frozen=True)
class Replan:
    """What the plan behind a command took, for the one environment.

    Attributes:
        seconds: wall-clock time of the plan, shared with all environments planned together.
        batch: how many environments that were.
        rounds, evaluations, residual, converged: the solver's statistics for this environment.
        lateness: control steps from the observation until the chunk could be executed.
        encode, denoise, decode: see `PlanTiming`.
    """

    seconds: float
    batch: int
    rounds: int
    evaluations: int
    residual: float
    converged: bool
    lateness: int = 0
    encode: float = 0.0
    denoise: float = 0.0
    decode: float = 0.0

    @classmethod
    def of(cls, chunk: Chunk, lateness: int) -> "Replan":
        """Of a chunk that came so late."""
        return cls(
            chunk.timing.seconds,
            chunk.batch,
            chunk.rounds,
            chunk.evaluations,
            chunk.residual,
            chunk.converged,
            lateness,
            *astuple(chunk.timing),
        )


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

"""Receding horizon: from one observation a control step to one action a control step."""

from collections import deque
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from typing import Protocol

import numpy as np
import torch

from paradp.policy.chunks import AtTheEnd, ChunkQueue
from paradp.policy.diffusion_policy import DiffusionPolicy
from paradp.policy.joining import Joining, soft_mask
from paradp.policy.observations import Observation
from paradp.policy.requests import Chunk, carried_on, chunks_of, stacked


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
        action: what the robot is told.
        replan: what was planned from this step's observation, if anything was.
        held: there was no action to execute, and the robot is told to stay.
        late: Ta actions of a chunk are executed since the last control step, and the next one is not there.
    """

    action: np.ndarray
    replan: Replan | None = None
    held: bool = False
    late: bool = False


class HasAction(Protocol):
    """What the loop needs of a command."""

    @property
    def action(self) -> np.ndarray: ...


class Controller(Protocol):
    """Drives one robot: a policy over a receding horizon, a scripted expert, a policy on another machine."""

    def reset(self, seed: int | None = None) -> None: ...

    def act(self, observation: Observation) -> HasAction: ...


class Clock(Protocol):
    """Says how late a chunk is; a loop whose time stands still while the policy thinks needs none."""

    def reset(self, seed: int | None) -> None: ...

    def lateness(self, seconds: float) -> int:
        """Control steps that pass while a plan of so many seconds is made."""
        ...


class Hold(Protocol):
    """The action that keeps a robot where it is, from the last action `[A]` it was given (`None` at first)."""

    def __call__(self, last: np.ndarray | None, observation: Observation) -> np.ndarray: ...


@dataclass(frozen=True)
class _Coming:
    """A chunk on its way, and the control step that it arrives at."""

    actions: np.ndarray
    arrives: int


class RecedingHorizon:
    """Executes Ta actions of each plan, then plans again from the last To observations.

    Args:
        policy: plans the chunks; several controllers may share it.
        seed: of the policy's noise until `reset` gives another.
        execute: Ta; the checkpoint's own by default.
        ahead: ask for the next chunk before Ta actions are executed, as early as the last one was late.
        joining: how a chunk joins the one before, see `paradp.policy.joining`; only an `ahead` one has something to join.
        clock: how late a chunk is; never, by default.
        hold: what the robot is told while it waits for one; needed with a clock.

    Raises:
        ValueError: `execute` is not among the predicted steps, or there is a clock and no `hold`.
    """

    def __init__(
        self,
        policy: DiffusionPolicy,
        seed: int = 0,
        execute: int | None = None,
        ahead: bool = False,
        clock: Clock | None = None,
        hold: Hold | None = None,
        joining: Joining = "replace",
    ):
        if clock is not None and hold is None:
            raise ValueError("a robot that must wait for its chunks needs to be told what to do meanwhile: give `hold`")
        self.policy = policy
        self.execute = policy.spec.horizons.with_execute(execute).execute
        self._ahead = ahead
        self._clock = clock
        self._hold = hold
        self._joining = joining
        self.reset(seed)

    def reset(self, seed: int | None = None) -> None:
        """Forgets the episode. With a seed, its noise is that seed's; without one, the noise goes on."""
        if seed is not None:
            self.generator = torch.Generator().manual_seed(seed)
        if self._clock is not None:
            self._clock.reset(seed)
        self._history: deque[np.ndarray] = deque(maxlen=self.policy.spec.horizons.observe)
        rest: AtTheEnd = "continue-chunk" if self._ahead else "hold"
        self._queue = ChunkQueue(self.execute, self._ahead, rest, self._joining == "blend")
        self._lateness = 0
        self._coming: _Coming | None = None
        self._planned: np.ndarray | None = None
        self._planned_at = 0
        self._last: np.ndarray | None = None

    def act(self, observation: Observation) -> Command:
        """The next action, planning first if a chunk is wanted."""
        return act_together([self], [observation])[0]

    def observe(self, observation: Observation) -> None:
        """Takes in the observation of a control step; the first of an episode also stands for those before it."""
        vector = self.policy.read(observation)
        self._history.extend([vector] * (1 if self._history else self._history.maxlen))  # type: ignore[operator]
        self._join_arrived()

    @property
    def history(self) -> np.ndarray:
        """The observed steps `[To, O]`, oldest first."""
        return np.stack(self._history)

    @property
    def needs_plan(self) -> bool:
        return self._queue.wants_chunk

    @property
    def guess(self) -> np.ndarray:
        """What the last plan says of the time that the next one is for, `[H, A]`; zeros without a plan."""
        if self._planned is None:
            return np.zeros((self.policy.spec.horizons.predict, self.policy.spec.action_size), np.float32)
        return carried_on(self._planned, self._queue.consumed - self._planned_at)

    @property
    def keep(self) -> np.ndarray | None:
        """How much of the guess the next plan must keep, `[H]`; `None` for nothing."""
        if self._joining != "inpaint" or self._planned is None:
            return None
        horizons = self.policy.spec.horizons
        return soft_mask(horizons.predict, horizons.observe - 1, self._lateness, self._queue.left)

    def take(self, chunk: Chunk) -> Replan:
        """Takes a plan from the present observation."""
        lateness = 0 if self._clock is None else self._clock.lateness(chunk.timing.seconds)
        self._planned, self._planned_at, self._lateness = chunk.whole, self._queue.consumed, lateness
        self._queue.ask()
        self._coming = _Coming(chunk.actions, self._queue.step + lateness)
        self._join_arrived()
        return Replan.of(chunk, lateness)

    def _join_arrived(self) -> None:
        if self._coming is not None and self._queue.step >= self._coming.arrives:
            self._queue.give(self._coming.actions)
            self._coming = None

    def next_command(self, observation: Observation, replan: Replan | None) -> Command:
        """What the robot does in this control step."""
        action = self._queue.next()
        held = action is None
        if action is None:
            assert self._hold is not None  # without a clock every chunk is there at once
            action = self._hold(self._last, observation)
        self._last = action
        return Command(action, replan, held)


def act_together(controllers: Sequence[RecedingHorizon], observations: Sequence[Observation]) -> list[Command]:
    """One control step of several environments; those that want a chunk are planned in one batch.

    Raises:
        ValueError: the controllers do not share one policy.
    """
    if any(c.policy is not controllers[0].policy for c in controllers):
        raise ValueError("controllers that act together must share one policy")
    for controller, observation in zip(controllers, observations, strict=True):
        controller.observe(observation)
    waiting = [c for c in controllers if c.needs_plan]
    replans: dict[int, Replan] = {}
    if waiting:
        policy = waiting[0].policy
        plan = policy.plan(
            np.stack([c.history for c in waiting]),
            [c.generator for c in waiting],
            torch.from_numpy(np.stack([c.guess for c in waiting])).to(policy.device),
            keep=stacked([c.keep for c in waiting], policy.spec.horizons.predict),
        )
        replans = {id(c): c.take(chunk) for c, chunk in zip(waiting, chunks_of(plan), strict=True)}
    return [c.next_command(o, replans.get(id(c))) for c, o in zip(controllers, observations, strict=True)]

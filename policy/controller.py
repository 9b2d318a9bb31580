"""Receding horizon: from one observation a control step to one action a control step."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

from paradp.policy.chunks import ChunkQueue
from paradp.policy.diffusion_policy import DiffusionPolicy
from paradp.policy.observations import Observation


@dataclass(frozen=True)
class Replan:
    """What the plan behind a command took, for the one environment.

    Attributes:
        seconds: wall-clock time of the plan, shared with all environments planned together.
        batch: how many environments that were.
        rounds, evaluations, residual, converged: the solver's statistics for this environment.
        lateness: control steps from the observation until the chunk could be executed.
    """

    seconds: float
    batch: int
    rounds: int
    evaluations: int
    residual: float
    converged: bool
    lateness: int = 0


@dataclass(frozen=True)
class Command:
    """An action `[A]` for one control step.

    Attributes:
        action: what the robot is told.
        replan: what was planned from this step's observation, if anything was.
        held: there was no action to execute, and the robot is told to stay.
    """

    action: np.ndarray
    replan: Replan | None = None
    held: bool = False


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
    ):
        if clock is not None and hold is None:
            raise ValueError("a robot that must wait for its chunks needs to be told what to do meanwhile: give `hold`")
        self.policy = policy
        self.execute = policy.spec.horizons.with_execute(execute).execute
        self._ahead = ahead
        self._clock = clock
        self._hold = hold
        self.reset(seed)

    def reset(self, seed: int | None = None) -> None:
        """Forgets the episode. With a seed, its noise is that seed's; without one, the noise goes on."""
        if seed is not None:
            self.generator = torch.Generator().manual_seed(seed)
        if self._clock is not None:
            self._clock.reset(seed)
        self._history: deque[np.ndarray] = deque(maxlen=self.policy.spec.horizons.observe)
        self._queue = ChunkQueue(self.execute, self._ahead, "continue-chunk" if self._ahead else "hold")
        self._coming: _Coming | None = None
        self._planned: torch.Tensor | None = None
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
    def guess(self) -> torch.Tensor:
        """What the last plan says of the time that the next one is for, its end held, `[H, A]`; zeros without a plan."""
        horizon = self.policy.spec.horizons.predict
        if self._planned is None:
            return torch.zeros(horizon, self.policy.spec.action_size, device=self.policy.device)
        later = torch.arange(horizon) + self._queue.consumed - self._planned_at
        return self._planned[later.clamp(max=horizon - 1)]

    def take(self, actions: np.ndarray, chunk: torch.Tensor, seconds: float) -> int:
        """Takes a plan from the present observation: its actions `[K, A]`, the whole chunk `[H, A]`, what it took.

        Returns:
            How many control steps late it is.
        """
        lateness = 0 if self._clock is None else self._clock.lateness(seconds)
        self._planned, self._planned_at = chunk, self._queue.consumed
        self._queue.ask()
        self._coming = _Coming(actions, self._queue.step + lateness)
        self._join_arrived()
        return lateness

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
        plan = waiting[0].policy.plan(
            np.stack([c.history for c in waiting]),
            [c.generator for c in waiting],
            torch.stack([c.guess for c in waiting]),
        )
        for row, controller in enumerate(waiting):
            replans[id(controller)] = Replan(
                seconds=plan.seconds,
                batch=len(waiting),
                rounds=int(plan.stats.rounds[row]),
                evaluations=int(plan.stats.evaluations[row]),
                residual=float(plan.stats.residual[row]),
                converged=bool(plan.stats.converged[row]),
                lateness=controller.take(plan.actions[row], plan.chunks[row], plan.seconds),
            )
    return [c.next_command(o, replans.get(id(c))) for c, o in zip(controllers, observations, strict=True)]

"""Between a policy and a robot: no command leaves that is not finite, within limits, and from a loop that is alive.

| what is found | what is done |
| --- | --- |
| a command outside the action limits | the nearest one inside |
| a command further from the last one than the rate limit | one on the way there, as far as the limit goes |
| a command further away than the jump limit, or not finite | stop |
| an observation that has been the same, to the bit, for too many control steps in which the robot was sent about | stop |
| the controller raises: late plan, dead inference, unreadable or non-finite observation, anything | stop |

A stop is latched: from that control step on the robot is told to stay where it is, until `reset`. The first command of an
episode is compared with what the robot would be told to stay where it is.
"""

import logging
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol, runtime_checkable

import numpy as np

from paradp.policy.asynchronous import DeadInference, LatePlan
from paradp.policy.controller import Command, Controller, HasAction, Hold
from paradp.policy.observations import Observation
from paradp.policy.spec import Interface

_LOG = logging.getLogger(__name__)


# Of the range of an action.
LEAST_STEP = 1e-3


class StopReason(StrEnum):
    """Why a robot was stopped."""

    NOT_FINITE = "the command is not finite"
    JUMP = "the command jumps"
    STALE = "the observation is frozen"
    LATE = "a plan is late"
    DEAD = "inference is dead"
    FAULT = "the controller failed"
    OUTSIDE = "it was told to"


@dataclass(frozen=True)
class SafetyLimits:
    """What a robot may be told.

    Attributes:
        low, high: `[A]`, of an action.
        rate: `[A]`, how far an action may be from the last one; no limit without it.
        jump: `[A]`, from where on such a distance is no movement but a fault; no limit without it.
        frozen_steps: how many control steps in a row an observation may be the same to the bit; those in which the robot was
            told to stay do not count, for one that stays may see the same.
    """

    low: np.ndarray
    high: np.ndarray
    rate: np.ndarray | None = None
    jump: np.ndarray | None = None
    frozen_steps: int = 10

    def __post_init__(self) -> None:
        for name in ("low", "high", "rate", "jump"):
            if (limit := getattr(self, name)) is not None and limit.shape != self.low.shape:
                raise ValueError(f"{name} has shape {limit.shape}, low {self.low.shape}")
        if not (self.low <= self.high).all():
            raise ValueError("low must not be above high")
        if any(limit is not None and not (limit > 0).all() for limit in (self.rate, self.jump)):
            raise ValueError("rate and jump must be positive")
        if self.frozen_steps < 1:
            raise ValueError(f"frozen_steps must be at least 1, not {self.frozen_steps}")

    @classmethod
    def of(cls, spec: Interface, rate: float = 1.5, jump: float = 4.0) -> "SafetyLimits":
        """The policy's own action limits, and multiples of the largest step that its demonstrations make.

        Where a checkpoint does not know that step, rate and jump are not limited.
        """
        low, high = (np.array(limit, np.float32) for limit in (spec.action_low, spec.action_high))
        if spec.action_step is None:
            return cls(low, high)
        # What the demonstrations never move may move a little.
        step = np.maximum(np.array(spec.action_step, np.float32), LEAST_STEP * (high - low))
        return cls(low, high, rate * step, jump * step)


@dataclass
class SafetyReport:
    """What was done since the last reset: in how many control steps a command was limited or slowed, and why it ended.

    Attributes:
        stopped: the reason, `None` while the robot may move.
        detail: of it, one sentence.
        stopped_at: the control step, counted from 0.
    """

    steps: int = 0
    limited: int = 0
    slowed: int = 0
    stopped: StopReason | None = None
    detail: str = ""
    stopped_at: int | None = None


@runtime_checkable
class CanTakeBack(Protocol):
    """A controller that can be told that its last command was not carried out."""

    def take_back(self) -> None: ...


class SafeController:
    """A `Controller` whose commands a robot may be given whatever the one behind it does.

    Args:
        controller: asked for a command in every control step, until there is a stop.
        limits: what it may command.
        hold: what the robot is told to stay where it is.
    """

    def __init__(self, controller: Controller, limits: SafetyLimits, hold: Hold):
        self._controller = controller
        self._limits = limits
        self._hold = hold
        self._last: np.ndarray | None = None
        self._before: np.ndarray | None = None
        self._resting = limits.low
        self._forget()

    def reset(self, seed: int | None = None) -> None:
        """Begins an episode; ends a stop."""
        self._forget()
        self._controller.reset(seed)

    def act(self, observation: Observation) -> Command:
        """What the robot is told in this control step.

        Raises:
            RuntimeError: in an episode's first control step, when it is not known how to stay.
        """
        if self._last is None:
            self._last = self._resting = self._position(observation)
        self.report.steps += 1
        if self.report.stopped is None:
            try:
                self._watch(observation)
                command = self._permitted(self._controller.act(observation))
            except Exception as error:
                self._stop(_reason(error), error)
            else:
                self._rest(observation)
                return command
        self._rest(observation)
        return Command(self._resting.copy(), held=True)

    def take_back(self) -> None:
        """To be called before `act` where the last command came too late for the robot, which repeated the one before: what
        comes next is compared with that one."""
        if self._before is not None:
            self._last, self._before = self._before, None
        if isinstance(self._controller, CanTakeBack):
            self._controller.take_back()

    def stop(self, why: str) -> None:
        """Stops the robot from the next control step on, until `reset`."""
        if self.report.stopped is None:
            self._stop(StopReason.OUTSIDE, RuntimeError(why))

    def _forget(self) -> None:
        self.report = SafetyReport()
        self._last = None
        self._before = None
        self._seen: bytes | None = None
        self._frozen = 0
        self._told_to_stay = False

    def _position(self, observation: Observation) -> np.ndarray:
        """What a robot that was told nothing yet must be told to stay."""
        try:
            return self._checked(self._hold(None, observation))
        except Exception as error:
            raise RuntimeError(f"it is not known how to stay: {error}") from error

    def _rest(self, observation: Observation) -> None:
        """Finds out how to stay after the last command; where that fails, it is what it was a control step ago."""
        try:
            self._resting = self._checked(self._hold(self._last, observation))
        except Exception as error:
            _LOG.warning("holding failed: %s", error)

    def _checked(self, action: np.ndarray) -> np.ndarray:
        """An action within limits, a copy."""
        action = np.asarray(action)
        if action.shape != self._limits.low.shape:
            raise _Unsafe(StopReason.FAULT, f"the command has shape {action.shape}, not {self._limits.low.shape}")
        if not np.isfinite(action).all():
            raise _Unsafe(StopReason.NOT_FINITE, f"the command is not finite: {action}")
        return action.clip(self._limits.low, self._limits.high)

    def _watch(self, observation: Observation) -> None:
        seen = b"".join(np.ascontiguousarray(observation[key]).tobytes() for key in sorted(observation))
        self._frozen = self._frozen + (not self._told_to_stay) if seen == self._seen else 0
        self._seen = seen
        if self._frozen >= self._limits.frozen_steps:
            raise _Unsafe(StopReason.STALE, f"the observation has not changed for {self._frozen} control steps")

    def _permitted(self, command: HasAction) -> Command:
        wanted = np.asarray(command.action)
        action = self._checked(wanted)
        self.report.limited += bool((action != wanted).any())
        # On the way from one action within limits to another all are, but for rounding.
        before = self._last
        self._last = self._near(action, before).clip(self._limits.low, self._limits.high)  # type: ignore[arg-type]
        self._before = before
        said = {name: getattr(command, name) for name in ("replan", "held", "late") if hasattr(command, name)}
        self._told_to_stay = said.get("held", False)
        return Command(self._last.copy(), **said)

    def _near(self, action: np.ndarray, last: np.ndarray) -> np.ndarray:
        """The action, or one on the way to it from the last."""
        away = action - last
        if self._limits.jump is not None and (np.abs(away) > self._limits.jump).any():
            worst = int((np.abs(away) / self._limits.jump).argmax())
            raise _Unsafe(
                StopReason.JUMP, f"dimension {worst} of the command goes from {last[worst]:g} to {action[worst]:g}"
            )
        if self._limits.rate is None or (np.abs(away) <= self._limits.rate).all():
            return action
        self.report.slowed += 1
        return last + away.clip(-self._limits.rate, self._limits.rate)

    def _stop(self, reason: StopReason, error: Exception) -> None:
        self.report.stopped, self.report.stopped_at = reason, self.report.steps - 1
        self.report.detail = f"{reason}: {error}"
        _LOG.error("stopped in control step %d: %s", self.report.stopped_at, self.report.detail)


class _Unsafe(Exception):
    """A command or an observation that stops the robot."""

    def __init__(self, reason: StopReason, detail: str):
        super().__init__(detail)
        self.reason = reason


def _reason(error: Exception) -> StopReason:
    match error:
        case _Unsafe():
            return error.reason
        case LatePlan():
            return StopReason.LATE
        case DeadInference():
            return StopReason.DEAD
    return StopReason.FAULT

"""Between a policy and a robot: no command leaves that is not finite, within limits, and from a loop that is alive.

| what is found | what is done |
| --- | --- |
| a command outside the action limits | the nearest one inside |
| a command further from the last one than the rate limit | one on the way there, as far as the limit goes |
| a command further away than the jump limit, not finite, or with a rotation that is none | stop |
| an observation that has been the same, to the bit, for too many control steps in which the robot was sent about | stop |
| the controller raises: late plan, dead inference, unreadable or non-finite observation, anything | stop |
| `stop()`, from any thread | stop |

A `SafeController` is in one of two states:

    moving ── a fault, or stop() ──▶ stopped ── reset() ──▶ moving

In `moving`, commands come from the controller behind it; `take_back` says that the last one was not carried out. In
`stopped`, every control step gets the same command, to the bit: to stay where the robot is. Nothing but `reset` ends that;
`take_back` does nothing, and the controller behind is not asked. The command to stay is within the limits, but not slowed:
how to stay is for `hold` to say, and for a robot that is commanded by velocities it is 0 at once.

The first command of an episode is compared with the one to stay where the robot is seen.
"""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from paradp.policy.control.asynchronous import DeadInference, LatePlan
from paradp.policy.control.controller import Command, Controller, HasAction, Hold
from paradp.policy.control.limits import SafetyLimits, SafetyReport, StopReason, Unsafe
from paradp.policy.errors import described
from paradp.policy.observations import Observation
from paradp.policy.wording import counted

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Told:
    """A command that the robot was given.

    Attributes:
        action: `[A]`.
        resting: `[A]`, how to stay after it.
        held: whether it was to stay.
    """

    action: np.ndarray
    resting: np.ndarray
    held: bool = False


@runtime_checkable
class CanTakeBack(Protocol):
    """A controller that can be told that its last command was not carried out."""

    def take_back(self) -> None: ...


class SafeController:
    """A `Controller` whose commands a robot may be given whatever the one behind it does.

    `act`, `take_back` and `reset` are for one thread at a time: a second one gets a `RuntimeError`, and the first goes on
    undisturbed. `stop` may be called from any thread, and from a signal handler, at any time.

    Args:
        controller: asked for a command in every control step, until there is a stop.
        limits: what it may command.
        hold: the command that keeps the robot where it is.
    """

    def __init__(self, controller: Controller, limits: SafetyLimits, hold: Hold):
        self._controller = controller
        self._limits = limits
        self._hold = hold
        # The one call that is under way, if any.
        self._users: dict[str, list[str]] = {}
        self._last: _Told | None
        self._before: _Told | None
        # How to stay, once stopped.
        self._stopped_with: np.ndarray | None
        self._seen: bytes | None
        self._forget()

    def reset(self, seed: int | None = None) -> None:
        """Begins an episode; ends a stop, except one that comes while this runs.

        Raises:
            RuntimeError: another thread uses this controller.
            Exception: the controller behind it cannot be reset; the robot is stopped then.
        """
        with self._alone("reset"):
            self._forget()
            try:
                self._controller.reset(seed)
            except BaseException as error:
                self._latch(StopReason.FAULT, error)
                raise

    def act(self, observation: Observation) -> Command:
        """The command for this control step.

        Whatever the controller behind raises stops the robot, `SystemExit` and `CancelledError` too, and this returns the
        command to stay. Only `KeyboardInterrupt` is raised again, after the stop is latched, so that Ctrl-C ends a program:
        whoever catches it and goes on gets the command to stay after the last command that was returned.

        Raises:
            RuntimeError: in an episode's first control step, when it is not known how to stay; or another thread uses this
                controller.
        """
        with self._alone("act"), self._not_told_if_interrupted():
            return self._next(observation)

    def take_back(self) -> None:
        """Call it before `act` if the last command came too late for the robot, which repeated the one before: what comes
        next is compared with that one. After a stop it does nothing.

        Raises:
            RuntimeError: another thread uses this controller.
        """
        with self._alone("take_back"):
            if self.report.stopped is not None:
                return
            if self._before is not None:
                self._last, self._before = self._before, None
            if isinstance(self._controller, CanTakeBack):
                with self._stopping():
                    self._controller.take_back()

    def stop(self, why: str) -> None:
        """Stops the robot until `reset`, from any thread and at any time; it does not wait for whoever is in `act`.

        An `act` that is under way returns the command to stay, unless it is already about to return. A stop that comes
        during a `reset` outlasts it. Of several stops the first is reported.
        """
        self._latch(StopReason.OUTSIDE, RuntimeError(why))

    @contextmanager
    def _alone(self, doing: str) -> Iterator[None]:
        """Refuses a second thread rather than letting it wait: two loops that drive one robot are a mistake.

        Ctrl-C stops the robot wherever in a call it comes, even between two lines of this. Hence who is in is one entry,
        made in one step, and each call removes only its own.
        """
        name = threading.current_thread().name
        me = [f"{doing} in thread {name!r}"]
        try:
            if (user := self._users.setdefault("user", me)) is not me:
                raise RuntimeError(
                    f"{doing} is called in thread {name!r} during {user[0]}: a SafeController is used by one thread at a"
                    " time; only stop may be called by others"
                )
            yield
        except KeyboardInterrupt as error:
            self._latch(StopReason.FAULT, error)
            raise
        finally:
            if "user" in self._users and self._users["user"] is me:
                del self._users["user"]

    @contextmanager
    def _not_told_if_interrupted(self) -> Iterator[None]:
        """A command that Ctrl-C keeps from being returned does not reach the robot: the one before is the last."""
        told = self._last, self._before
        try:
            yield
        except KeyboardInterrupt:
            self._last, self._before = told
            raise

    @contextmanager
    def _stopping(self) -> Iterator[None]:
        """Whatever is raised stops the robot; only Ctrl-C goes on to the caller."""
        try:
            yield
        except BaseException as error:
            self._latch(_reason(error), error)
            if isinstance(error, KeyboardInterrupt):
                raise

    def _forget(self) -> None:
        # First of all: whoever calls `stop` from now on stops the new episode.
        self.report = SafetyReport()
        self._last = self._before = None
        self._stopped_with = None
        self._seen = None
        self._frozen = 0

    def _next(self, observation: Observation) -> Command:
        """The command for this control step, as `act` promises it."""
        if self._last is None:
            position = self._position(observation)
            self._last = _Told(position, position)
        command = None
        if self.report.stopped is None:
            with self._stopping():
                command = self._safe_command(observation)
        if command is None:
            command = self._stay(observation)
        self.report.steps += 1
        return command

    def _position(self, observation: Observation) -> np.ndarray:
        """The command to stay for a robot that has not been given any."""
        try:
            return self._limits.checked(self._hold(None, observation))
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            raise RuntimeError(f"it is not known how to stay: {described(error)}") from error

    def _safe_command(self, observation: Observation) -> Command | None:
        """The next command of the controller behind, made safe; `None` if `stop` was called meanwhile.

        Raises:
            BaseException: the robot must be stopped.
        """
        self._watch(observation)
        wanted = self._controller.act(observation)
        action = self._permitted(wanted)
        resting = self._staying(action, observation)
        said = {name: getattr(wanted, name) for name in ("replan", "held", "late") if hasattr(wanted, name)}
        command = Command(action, **said)
        if self.report.stopped is not None:
            return None
        self._before, self._last = self._last, _Told(action, resting, command.held)
        return command

    def _stay(self, observation: Observation) -> Command:
        if self._stopped_with is None:
            assert self._last is not None
            self._stopped_with = self._staying(self._last.action, observation)
        return Command(self._stopped_with, held=True)

    def _staying(self, last: np.ndarray, observation: Observation) -> np.ndarray:
        """How to stay after a command; where that cannot be found out, as it was a control step ago."""
        assert self._last is not None
        try:
            return self._limits.checked(self._hold(last.copy(), observation))
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            _LOG.warning("holding failed: %s", described(error))
            return self._last.resting

    def _watch(self, observation: Observation) -> None:
        seen = b"".join(np.ascontiguousarray(observation[key]).tobytes() for key in sorted(observation))
        self._frozen = self._frozen + (not self._was_held()) if seen == self._seen else 0
        self._seen = seen
        if self._frozen >= self._limits.frozen_steps:
            raise Unsafe(StopReason.STALE, f"the observation has not changed for {counted(self._frozen, 'control step')}")

    def _was_held(self) -> bool:
        """Whether the robot was told to stay by the last command."""
        return self._last is not None and self._last.held

    def _permitted(self, command: HasAction) -> np.ndarray:
        """Its action, or the nearest one that the limits allow after the last."""
        wanted = np.asarray(command.action)
        action = self._limits.checked(wanted)
        self.report.limited += bool((action != wanted).any())
        assert self._last is not None
        slowed = self._limits.near(action, self._last.action)
        self.report.slowed += slowed is not action
        # On the way from one action within limits to another all are, but for rounding.
        return self._limits.within(slowed)

    def _latch(self, reason: StopReason, error: BaseException) -> None:
        """Notes a stop, unless there is one. Without a lock: a signal handler may call it in the midst of `act`."""
        while (report := self.report).stopped is None:
            report.stopped_at, report.detail = report.steps, f"{reason}: {described(error)}"
            report.stopped = reason
            _LOG.error("stopped in control step %d: %s", report.stopped_at, report.detail)
            # A reset may have begun a new report meanwhile: then that one is stopped as well.


def _reason(error: BaseException) -> StopReason:
    match error:
        case Unsafe():
            return error.reason
        case LatePlan():
            return StopReason.LATE
        case DeadInference():
            return StopReason.DEAD
    return StopReason.FAULT

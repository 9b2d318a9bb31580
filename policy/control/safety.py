"""Safety checks between a policy and a robot: every command that passes is finite, within limits and from a live loop.

| condition | reaction |
| --- | --- |
| a robot outside the action limits by more than the jump limit when an episode begins | `act` raises an error |
| a command outside the action limits | clipped to the limits |
| a change from the last command above the rate limit | slowed down to the rate limit |
| a change above the jump limit, a command that is not finite, an invalid rotation | stop |
| an identical observation, bit for bit, for too many control steps in which the robot was not commanded to hold | stop |
| a camera whose frames are identical for too long, while the robot is commanded to move and the rest changes | stop |
| the controller raises: late plan, dead inference, unreadable or non-finite observation, anything | stop |
| `stop()`, from any thread | stop |

A `SafeController` is in one of two states:

    moving ── a fault, or stop() ──▶ stopped ── reset() ──▶ moving

While `moving`, commands come from the wrapped controller; call `take_back` if the robot did not execute the last one. While
`stopped`, every control step returns the same command: hold the current position. Only `reset` ends a stop; `take_back` then
has no effect, and the wrapped controller is not called. The holding command is not slowed down, nor is that of the wrapped
controller if it is the same: it comes from `hold`, and for a robot with velocity commands it is 0 at once.

The first command of an episode is compared with the command that holds the observed position. A robot outside the limits, by
no more than the jump limit, stays where it is, or approaches them at the rate limit if the first action wanted is within the
jump limit of its position: a command may be outside the limits, but no further than the last one or the one that holds the
robot.
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
from paradp.policy.control.watchdog import Watchdog
from paradp.policy.errors import described
from paradp.policy.observations import Observation

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Sent:
    """A command that was sent to the robot.

    Attributes:
        action: `[A]`.
        resting: `[A]`, the command that holds the position after it.
        held: whether it was a holding command.
        moves: whether it moves the robot visibly.
    """

    action: np.ndarray
    resting: np.ndarray
    held: bool = False
    moves: bool = False


@runtime_checkable
class CanTakeBack(Protocol):
    """A controller that can undo its last command, if the robot did not execute it."""

    def take_back(self) -> None: ...


class SafeController:
    """A `Controller` that wraps another one and only returns safe commands.

    Only one thread at a time may use `act`, `take_back` and `reset`: a second thread gets a `RuntimeError`, and the first is
    not affected. `stop` may be called at any time from any thread or signal handler.

    Args:
        controller: computes the commands until a stop.
        limits: limits on its commands.
        hold: returns the command that holds the robot's position.
    """

    def __init__(self, controller: Controller, limits: SafetyLimits, hold: Hold):
        self._controller = controller
        self._limits = limits
        self._hold = hold
        # The call in progress, if any.
        self._users: dict[str, list[str]] = {}
        self._last: _Sent | None
        self._before: _Sent | None
        # The holding command after a stop.
        self._stopped_with: np.ndarray | None
        self._watchdog: Watchdog
        self._forget()

    def reset(self, seed: int | None = None) -> None:
        """Begins an episode; ends a stop, except one that comes while this runs.

        Raises:
            RuntimeError: another thread uses this controller.
            Exception: the wrapped controller cannot be reset; the robot is then stopped.
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

        An exception of the wrapped controller stops the robot, even `SystemExit` and `CancelledError`; the method then
        returns the holding command. Only `KeyboardInterrupt` is raised again after the stop, so that Ctrl-C ends a program.
        A program that catches it and continues gets holding commands.

        Raises:
            ValueError: in the first control step of an episode, the robot is outside the limits by more than the jump limit.
            RuntimeError: `hold` fails in the first control step of an episode; or another thread uses this controller.
        """
        with self._alone("act"), self._unsent_if_interrupted():
            return self._next(observation)

    def take_back(self) -> None:
        """Undoes the last command. Call it before `act` if that command came too late and the robot repeated the one before.

        The next command is then compared with the repeated one. After a stop it has no effect.

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
        """Stops the robot until `reset`. Call it from any thread at any time; it does not wait for `act`.

        A call of `act` in progress returns the holding command, unless it is already about to return. A stop during `reset`
        stays in force after it. The report contains the first of several stops.
        """
        self._latch(StopReason.OUTSIDE, RuntimeError(why))

    @contextmanager
    def _alone(self, doing: str) -> Iterator[None]:
        """Raises an error in a second thread, instead of letting it wait: two loops that drive one robot are a mistake.

        Ctrl-C may come between any two lines and must still stop the robot. The current user is therefore one dictionary
        entry, set in one atomic step, and each call removes only its own entry.
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
    def _unsent_if_interrupted(self) -> Iterator[None]:
        """Restores the last command if Ctrl-C prevents a new one from being returned, and so from reaching the robot."""
        sent = self._last, self._before
        try:
            yield
        except KeyboardInterrupt:
            self._last, self._before = sent
            raise

    @contextmanager
    def _stopping(self) -> Iterator[None]:
        """Stops the robot on any exception; only Ctrl-C is raised again."""
        try:
            yield
        except BaseException as error:
            self._latch(_reason(error), error)
            if isinstance(error, KeyboardInterrupt):
                raise

    def _forget(self) -> None:
        # This comes first: a call of `stop` from here on stops the new episode.
        self.report = SafetyReport()
        self._last = self._before = None
        self._stopped_with = None
        self._watchdog = Watchdog(self._limits)

    def _next(self, observation: Observation) -> Command:
        """The command for this control step, see `act`."""
        if self._last is None:
            position = self._position(observation)
            if self.report.stopped is None:
                self._limits.check_start(position)
            self._last = _Sent(position, position)
        command = None
        if self.report.stopped is None:
            with self._stopping():
                command = self._safe_command(observation)
        if command is None:
            command = self._stay(observation)
        self.report.steps += 1
        return command

    def _position(self, observation: Observation) -> np.ndarray:
        """The holding command before any other command was sent; not clipped, because the robot must not move."""
        try:
            position = self._limits.sound(self._hold(None, observation))
            return self._limits.including(position).within(position)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            raise RuntimeError(f"the holding command is unknown: {described(error)}") from error

    def _safe_command(self, observation: Observation) -> Command | None:
        """The next command of the wrapped controller within the limits; `None` if `stop` was called during the call.

        Raises:
            BaseException: the robot must be stopped.
        """
        assert self._last is not None
        self._watchdog.look(observation, self._last.held, self._last.moves)
        wanted = self._controller.act(observation)
        action = self._permitted(wanted, observation)
        resting = self._staying(action, observation)
        said = {name: getattr(wanted, name) for name in ("replan", "held", "late") if hasattr(wanted, name)}
        command = Command(action, **said)
        if self.report.stopped is not None:
            return None
        moves = self._limits.moves(action, self._last.resting)
        self._before, self._last = self._last, _Sent(action, resting, command.held, moves)
        return command

    def _stay(self, observation: Observation) -> Command:
        if self._stopped_with is None:
            assert self._last is not None
            self._stopped_with = self._staying(self._last.action, observation)
        return Command(self._stopped_with, held=True)

    def _staying(self, last: np.ndarray, observation: Observation) -> np.ndarray:
        """The holding command after an action; if `hold` fails, the holding command of the step before."""
        assert self._last is not None
        try:
            return self._allowed().checked(self._hold(last.copy(), observation))
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            _LOG.warning("holding failed: %s", described(error))
            return self._last.resting

    def _permitted(self, command: HasAction, observation: Observation) -> np.ndarray:
        """The command's action, clipped to the limits and slowed to the rate limit, unless it holds the robot."""
        wanted, allowed = np.asarray(command.action), self._allowed()
        action = allowed.checked(wanted)
        self.report.limited += bool((action != wanted).any())
        assert self._last is not None
        if getattr(command, "held", False) and np.array_equal(action, self._staying(self._last.action, observation)):
            return action
        slowed = allowed.near(action, self._last.action)
        self.report.slowed += slowed is not action
        # Between two actions within the limits every action is, except for rounding.
        return allowed.within(slowed)

    def _allowed(self) -> SafetyLimits:
        """The limits on the next command, which may be as far outside as the last one or the one that holds the robot."""
        assert self._last is not None
        return self._limits.including(self._last.action, self._last.resting)

    def _latch(self, reason: StopReason, error: BaseException) -> None:
        """Records a stop, unless there is one. It takes no lock, because a signal handler may call it during `act`."""
        while (report := self.report).stopped is None:
            report.stopped_at, report.detail = report.steps, f"{reason}: {described(error)}"
            report.stopped = reason
            _LOG.error("stopped in control step %d: %s", report.stopped_at, report.detail)
            # If a reset has started a new report in between, the loop stops that one as well.


def _reason(error: BaseException) -> StopReason:
    match error:
        case Unsafe():
            return error.reason
        case LatePlan():
            return StopReason.LATE
        case DeadInference():
            return StopReason.DEAD
    return StopReason.FAULT

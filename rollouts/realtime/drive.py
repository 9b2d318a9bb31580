"""A control loop in real time: passes each of the robot's observations to a controller, and the command back."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from time import perf_counter

import numpy as np

from paradp.policy import Command, Hold
from paradp.policy.control.limits import SafetyLimits, SafetyReport
from paradp.policy.control.safety import SafeController
from paradp.policy.observations import Observation
from paradp.policy.processes import spare_garbage_collection
from paradp.rollouts.realtime.reports import Robot, TickReport
from paradp.rollouts.realtime.timeline import LOOP, ROBOT, Timeline


@dataclass
class Driven:
    """The results of a control loop.

    Attributes:
        ticks: control steps that the robot made.
        missed: control steps without a command in time. The robot waits for the first command of an episode.
        held: control steps without an action to execute.
        late_plans: chunks that had not arrived when Ta actions of the last one were executed.
        unsafe: commands sent that were not finite, or further outside the action limits than the robot when the episode
            began, and commands executed that differed from the previous one, the first from the robot's position, by more
            than the rate limit; must be 0.
        plans, unconverged: chunks that were used, and how many of them a budget had ended.
        late_steps: control steps that the robot itself started more than a tenth of a period late.
        episodes, successes: episodes that ended, and those that succeeded.
        safety: the safety report of each episode.
        timeline: the times of everything in the loop.
    """

    ticks: int = 0
    missed: int = 0
    held: int = 0
    late_plans: int = 0
    unsafe: int = 0
    plans: int = 0
    unconverged: int = 0
    late_steps: int = 0
    episodes: int = 0
    successes: int = 0
    safety: list[SafetyReport] = field(default_factory=list)
    timeline: Timeline = field(default_factory=Timeline)

    @property
    def stops(self) -> list[str]:
        """The reason of each stop of the robot."""
        return [report.detail for report in self.safety if report.stopped]


# Long: half is documentation; the other half is one control step, whose order matters.
def drive(
    robot: Robot,
    controller: SafeController,
    limits: SafetyLimits,
    hold: Hold,
    seconds: float,
    driven: Driven,
    on_step: Callable[[], None] = lambda: None,
    on_command: Callable[[TickReport, Command], None] = lambda report, command: None,
) -> None:
    """Drives a robot for some time.

    Args:
        robot: sends observations and receives commands.
        controller: computes the commands; must not wait.
        limits: for a second check, independent of the controller, of the commands sent and of those executed.
        hold: returns the command that holds the robot's position; the first command is compared with it.
        seconds: duration in wall-clock time, from the first command on.
        driven: the results, updated continuously.
        on_step: called after every control step.
        on_command: called with the observation and the sent command, after every control step.

    Raises:
        ConnectionError: the robot has failed.
        ValueError: a robot is further outside the limits than it may be, and must be moved first.
    """
    spare_garbage_collection()
    until, tick, check = None, 0, _SecondCheck(limits)
    for report in robot.reports():
        received = perf_counter()
        if until is not None and received > until:
            return
        if not report.began:
            _note_robot(driven, report, report.tick - tick, robot.period)
        tick = report.tick
        driven.unsafe += check.executed(report)
        if report.ended:
            driven.episodes += 1
            driven.successes += report.success
            continue
        if report.began:
            controller.reset(report.seed)
            driven.safety.append(controller.report)
        elif report.done < check.last_sent:
            controller.take_back()
        if report.began:
            check.begin(hold(None, report.observation))  # before the robot can move
        command = _step(driven, robot, controller, report, received)
        driven.unsafe += check.sent(report.tick, command, hold, report.observation)
        until = until or perf_counter() + seconds
        on_command(report, command)
        on_step()


def _step(driven: Driven, robot: Robot, controller: SafeController, report: TickReport, received: float) -> Command:
    timeline, tick = driven.timeline, report.tick
    timeline.add("observe", LOOP, tick, report.at, received - report.at)
    with timeline.span("act", LOOP, tick):
        command = controller.act(report.observation)
    with timeline.span("send", LOOP, tick):
        robot.command(tick, command.action)
    timeline.add("observation to command", "whole loop", tick, report.at, perf_counter() - report.at)
    driven.held += command.held
    driven.late_plans += command.late
    if (replan := command.replan) is not None:
        driven.plans += 1
        driven.unconverged += not replan.stats.converged
        # The plan's exact end within the last control step is unknown; the timeline shows it at the time of its first use.
        timeline.add_plan(tick, replan.stats, received)
    return command


def _note_robot(driven: Driven, report: TickReport, steps: int, period: float) -> None:
    driven.ticks += steps
    driven.missed = report.missed
    driven.late_steps += report.late > period / 10
    driven.timeline.add("control step late by", ROBOT, report.tick, report.at - report.late, report.late)


class _SecondCheck:
    """Checks the commands of an episode: those sent, and the sequence of those that the robot executed in time."""

    def __init__(self, limits: SafetyLimits):
        self._limits = limits
        # The safety layer's arithmetic may round.
        self._rate = None if limits.rate is None else limits.rate + 1e-6 * (limits.high - limits.low)
        self._low, self._high = limits.low, limits.high
        self._sent: dict[int, np.ndarray] = {}
        self._resting: set[int] = set()
        self._last: np.ndarray | None = None

    @property
    def last_sent(self) -> int:
        """The control step of the latest command."""
        return max(self._sent, default=-1)

    def begin(self, position: np.ndarray) -> None:
        """Begins an episode, given the command that holds the robot's position."""
        self._low, self._high = np.minimum(self._limits.low, position), np.maximum(self._limits.high, position)
        self._last = position

    def sent(self, tick: int, command: Command, hold: Hold, observation: Observation) -> bool:
        """Records a command; returns whether it is unsafe in itself.

        The command that holds the robot has no rate limit: velocities become 0 at once. If `hold` fails, the limit counts.
        """
        action, last = command.action, self._sent.get(self.last_sent, self._last)
        with suppress(Exception):  # the controller has reported it; the robot must not be left without commands
            if command.held and last is not None and np.array_equal(action, hold(last, observation)):
                self._resting.add(tick)
        self._sent[tick] = action
        return not (np.isfinite(action).all() and (action >= self._low).all() and (action <= self._high).all())

    def executed(self, report: TickReport) -> bool:
        """Whether the commands executed since the last report exceeded the rate limit."""
        action = self._sent.get(report.done)
        self._sent = {tick: action for tick, action in self._sent.items() if tick >= report.done}
        if action is None or report.began:
            return False
        before, self._last = self._last, action
        rests = report.done in self._resting
        self._resting = {tick for tick in self._resting if tick > report.done}
        if rests or before is None or self._rate is None:
            return False
        return bool((np.abs(action - before) > self._rate).any())

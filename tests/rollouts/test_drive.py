"""A control loop in real time: the robot never waits, and faults are counted."""

import itertools
import os
import signal
import time

import numpy as np
import pytest

from paradp.envs import ACTION_CONVENTIONS
from paradp.policy import Command
from paradp.policy.control.limits import SafetyLimits, StopReason
from paradp.policy.control.safety import SafeController
from paradp.rollouts.episodes.environments import EnvironmentConfig
from paradp.rollouts.realtime.drive import Driven, drive
from paradp.rollouts.realtime.reports import TickReport
from paradp.rollouts.realtime.robot import COMMAND_SHARE, SimulatedRobot

SPACE = ACTION_CONVENTIONS["absolute"].space
HOLD = ACTION_CONVENTIONS["absolute"].hold
LIMITS = SafetyLimits(SPACE.low, SPACE.high)
STEPS = 30
COMMAND_SECONDS = COMMAND_SHARE / 20


class Sleepy:
    """A controller that holds; in some control steps it is too slow, in one it may raise."""

    def __init__(self, slow: set[int] = frozenset(), fails: int | None = None, kills: SimulatedRobot | None = None):
        self.step, self.slow, self.fails, self.kills = 0, slow, fails, kills
        self.seeds = []

    def reset(self, seed=None):
        self.seeds.append(seed)
        self._action = None

    def act(self, observation):
        if self._action is None:
            self._action = HOLD(None, observation)
        if self.step in self.slow:
            time.sleep(2 * COMMAND_SECONDS)
        if self.step == self.fails:
            raise ValueError("a fault in the controller")
        self.step += 1
        return Command(self._action + np.float32(1e-6 * self.step))


@pytest.fixture
def robot(request):
    """A simulated robot with episodes longer than a test, unless the test needs several."""
    robot = SimulatedRobot(EnvironmentConfig("lift", max_steps=getattr(request, "param", 400)), seed=5)
    yield robot
    robot.close()


def drive_until(robot, controller, steps: int, limits: SafetyLimits = LIMITS):
    """Drives for so many control steps, however long they take."""
    guarded = SafeController(controller, limits, HOLD)

    class Enough(Exception):
        pass

    driven, made = Driven(), itertools.count(1)

    def count():
        if next(made) >= steps:
            raise Enough

    with pytest.raises(Enough):
        drive(robot, guarded, limits, HOLD, 600.0, driven, count)
    return driven, guarded


@pytest.mark.parametrize("robot", [STEPS], indirect=True)
def test_episodes_follow_each_other_and_slow_steps_are_counted_as_missed(robot):
    controller = Sleepy(slow={3, 7, 8})
    driven, _ = drive_until(robot, controller, STEPS + 20)
    assert driven.episodes >= 1 and driven.successes == 0 and controller.seeds[:2] == [5, 6]
    # Whoever is slow misses its control step, and may miss others that went by meanwhile; a slow machine misses more.
    assert 3 <= driven.missed < driven.ticks and driven.unsafe == 0 and not driven.stops
    assert STEPS < driven.ticks <= driven.missed + STEPS + 20 and len(driven.safety) == driven.episodes + 1
    times = driven.timeline.distributions()
    assert times["act"].max > 1000 * COMMAND_SECONDS and times["observe"].count == STEPS + 20


class Marches(Sleepy):
    """A controller that moves as far as allowed in every control step."""

    def act(self, observation):
        command = super().act(observation)
        return Command(command.action + np.float32(0.0019 * self.step) * (np.arange(10) == 2))


@pytest.mark.parametrize("told", [True, False])
def test_executed_commands_keep_their_rate_if_commands_come_too_late(robot, monkeypatch, told):
    limits = SafetyLimits(SPACE.low, SPACE.high, np.full(10, 0.002, np.float32))
    if not told:
        monkeypatch.setattr(SafeController, "take_back", lambda self: None)
    driven, guarded = drive_until(robot, Marches(slow={5, 9, 14}), 25, limits)
    assert driven.missed >= 3 and (driven.unsafe == 0) == told and (guarded.report.slowed >= 3) == told


def test_a_fault_in_the_loop_stops_the_robot_and_the_loop_continues(robot):
    driven, guarded = drive_until(robot, Sleepy(fails=10), 20)
    assert guarded.report.stopped is StopReason.FAULT and guarded.report.stopped_at == 10
    assert driven.held == 10 and driven.unsafe == 0


def test_a_robot_that_dies_ends_the_loop(robot):
    class Killing(Sleepy):
        def act(self, observation):
            if self.step == 5:
                os.kill(robot._process.pid, signal.SIGKILL)
                robot._process.join()
            return super().act(observation)

    guarded = SafeController(Killing(), LIMITS, HOLD)
    with pytest.raises(ConnectionError, match="the robot's process has died"):
        drive(robot, guarded, LIMITS, HOLD, 60.0, Driven())


class Folded:
    """A robot that reports that it has executed every command, from a position outside the limits on."""

    period = 0.05

    def __init__(self, at: float):
        self._at, self.commands = at, []

    def reports(self):
        for tick in range(4):
            yield TickReport(tick, 0, tick == 0, {"at": np.array([self._at])}, time.perf_counter(), done=tick - 1)

    def command(self, tick, action):
        self.commands.append(action.tolist())

    def close(self): ...


class Wants:
    def reset(self, seed=None): ...

    def act(self, observation):
        return Command(np.array([0.5]))


def at_first(last, observation):
    return observation["at"] if last is None else last


NARROW = SafetyLimits(np.zeros(1), np.ones(1), np.array([0.25]), np.array([1.0]))


@pytest.mark.parametrize("checked", [True, False])
def test_the_first_command_is_compared_with_the_robots_position(checked, monkeypatch):
    """The loop's own check notices a first step that the controller should have slowed."""
    if not checked:
        monkeypatch.setattr(SafeController, "_permitted", lambda self, command, observation: command.action)
    robot, driven = Folded(-0.5), Driven()
    drive(robot, SafeController(Wants(), NARROW, at_first), NARROW, at_first, 60.0, driven)
    assert robot.commands == ([[-0.25], [0.0], [0.25], [0.5]] if checked else [[0.5]] * 4)
    assert driven.unsafe == (0 if checked else 1)


def test_a_command_further_outside_the_limits_than_the_robot_is_counted_as_unsafe(monkeypatch):
    monkeypatch.setattr(SafeController, "_permitted", lambda self, command, observation: np.array([-0.75]))
    driven = Driven()
    drive(Folded(-0.5), SafeController(Wants(), NARROW, at_first), NARROW, at_first, 60.0, driven)
    assert driven.unsafe == 4


class Rolls(Wants):
    """A velocity, and from the third step on what is said."""

    def __init__(self, *later: Command):
        self._commands = iter([Command(np.array([0.25])), Command(np.array([0.5])), *later])

    def act(self, observation):
        return next(self._commands)


def still(last, observation):
    return np.zeros(1)


@pytest.mark.parametrize("faulty", [False, True])
def test_a_velocity_becomes_zero_at_once_to_hold_the_robot(faulty):
    """When a plan is late, and after a stop; neither counts as unsafe."""
    wanted = [Command(np.zeros(1), held=True), Command(np.array([np.nan if faulty else 0.25]))]
    robot, driven, limits = Folded(0.0), Driven(), SafetyLimits(np.zeros(1), np.ones(1), np.array([0.25]), np.array([0.3]))
    drive(robot, SafeController(Rolls(*wanted), limits, still), limits, still, 60.0, driven)
    assert robot.commands == [[0.25], [0.5], [0.0], [0.0 if faulty else 0.25]]
    assert driven.unsafe == 0 and len(driven.stops) == faulty


def test_a_held_command_that_is_not_the_holding_one_is_limited():
    robot, driven, limits = Folded(0.0), Driven(), SafetyLimits(np.zeros(1), np.ones(1), np.array([0.25]), np.array([0.3]))
    wanted = [Command(np.array([0.05]), held=True)] * 2
    drive(robot, SafeController(Rolls(*wanted), limits, still), limits, still, 60.0, driven)
    assert len(driven.stops) == 1 and driven.unsafe == 0


def test_the_robot_gets_commands_even_if_hold_fails():
    def fails_later(last, observation):
        if last is None:
            return np.zeros(1)
        raise ValueError("no position")

    robot, driven, limits = Folded(0.0), Driven(), SafetyLimits(np.zeros(1), np.ones(1), np.array([0.25]), np.array([0.3]))
    wanted = [Command(np.array([0.5]), held=True)] * 2
    drive(robot, SafeController(Rolls(*wanted), limits, fails_later), limits, fails_later, 60.0, driven)
    assert robot.commands == [[0.25], [0.5], [0.5], [0.5]] and driven.unsafe == 0


def test_a_robot_far_outside_the_limits_gets_no_command():
    robot = Folded(-10.0)
    with pytest.raises(ValueError, match="move the robot into the limits first"):
        drive(robot, SafeController(Wants(), NARROW, at_first), NARROW, at_first, 60.0, Driven())
    assert robot.commands == []

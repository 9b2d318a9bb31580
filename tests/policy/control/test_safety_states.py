"""The two states of a SafeController: commands are safe in any order of calls, and constant after a stop."""

import asyncio
import sys
import threading
from concurrent.futures import CancelledError

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from paradp.policy import Command
from paradp.policy.control.limits import SafetyLimits, StopReason
from paradp.policy.control.safety import SafeController

RATE = 0.25
LIMITS = SafetyLimits(-np.ones(2), np.ones(2), np.full(2, RATE), np.full(2, 1.1), frozen_steps=1000)


class Obeys:
    """A controller that a test controls, and that has `take_back`."""

    def __init__(self):
        self.next = np.zeros(2)
        self.taken_back = self.asked = 0

    def reset(self, seed=None):
        self.taken_back = self.asked = 0

    def act(self, observation):
        self.asked += 1
        if isinstance(self.next, BaseException):
            raise self.next
        return self.next() if callable(self.next) else Command(self.next)

    def take_back(self):
        self.taken_back += 1


def hold(last, observation):
    """Returns the observed position: unlike in paradp's own conventions, it changes with every control step."""
    return observation["at"] if last is None else last + observation["drift"]


def seen(drift: float = 0.0) -> dict[str, np.ndarray]:
    return {"at": np.zeros(2), "drift": np.full(2, drift)}


FAULTS = [
    ValueError("a plan that is not finite"),
    KeyError("position"),
    TimeoutError(),
    MemoryError(),
    RecursionError("maximum recursion depth exceeded"),
    CancelledError(),
    asyncio.CancelledError(),
    SystemExit(0),
    GeneratorExit(),
]
WRONG = [
    np.full(2, np.nan),
    np.full(3, 0.0),
    np.zeros(2, complex),
    np.array(["0", "0"]),
    np.array([None, 0]),
    np.zeros(2, bool),
]


class States(RuleBasedStateMachine):
    """Acts, stops, takes back, resets and fails in any order."""

    @initialize()
    def begin(self):
        self.inner = Obeys()
        self.safe = SafeController(self.inner, LIMITS, hold)
        self.expected = None
        self.carried_out = np.zeros(2)
        self.last = self.before = None

    def _act(self, drift: float = 0.0):
        stopped = self.safe.report.stopped is not None
        asked = self.inner.asked
        command = self.safe.act(seen(drift))
        action = command.action
        assert np.isfinite(action).all() and (np.abs(action) <= 1).all()
        if self.safe.report.stopped is None:
            assert (np.abs(action - self.carried_out) <= RATE + 1e-12).all()
            self.before, self.carried_out = self.carried_out, action.copy()
        else:
            assert command.held and self.inner.asked == asked + (not stopped)
            if self.expected is not None:
                assert action.tobytes() == self.expected
            self.expected = action.tobytes()
        action[:] = 7.0  # the caller's own

    @rule(wanted=st.lists(st.floats(-2, 2), min_size=2, max_size=2), drift=st.floats(-0.1, 0.1))
    def act(self, wanted, drift):
        self.inner.next = np.array(wanted)
        self._act(drift)

    @rule(fault=st.sampled_from(FAULTS))
    def fail(self, fault):
        self.inner.next = fault
        self._act()
        assert self.safe.report.stopped is not None

    @rule(wrong=st.sampled_from(WRONG))
    def err(self, wrong):
        self.inner.next = lambda: Command(wrong)
        self._act()
        assert self.safe.report.stopped is not None

    @rule()
    def stop(self):
        self.safe.stop("the button")
        assert self.safe.report.stopped is not None

    @rule()
    def take_back(self):
        counted, stopped = self.inner.taken_back, self.safe.report.stopped
        self.safe.take_back()
        assert self.inner.taken_back == counted + (stopped is None)
        if stopped is None and self.before is not None:
            self.carried_out, self.before = self.before, None

    @precondition(lambda self: self.safe.report.steps > 2)
    @rule()
    def reset(self):
        self.safe.reset(0)
        assert self.safe.report.stopped is None
        self.expected, self.before, self.carried_out = None, None, np.zeros(2)


TestStates = States.TestCase
TestStates.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)


def test_taking_back_an_action_does_not_change_the_stop_command():
    safe = SafeController(inner := Obeys(), LIMITS, hold)
    commands = []
    for x in (0.1, 0.2, 0.3):
        inner.next = np.array([x, 0])
        commands.append(safe.act(seen()).action[0])
    safe.stop("the button")
    for drift in (0.0, 0.1, -0.1):
        commands.append(safe.act(seen(drift)).action[0])
        safe.take_back()
        safe.take_back()
    assert commands == [0.1, 0.2, 0.3, 0.3, 0.3, 0.3] and inner.taken_back == 0


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: type(fault).__name__)
def test_every_exception_ends_in_the_command_to_hold(fault):
    safe = SafeController(inner := Obeys(), LIMITS, hold)
    inner.next = np.array([0.2, 0.1])
    safe.act(seen())
    inner.next = fault
    command = safe.act(seen())
    assert command.held and command.action.tolist() == [0.2, 0.1]
    assert safe.report.stopped is StopReason.FAULT and safe.report.stopped_at == 1
    # A reason is never empty.
    assert safe.report.detail.split(": ", 1)[1].strip()


def test_ctrl_c_stops_the_robot_and_ends_the_program():
    safe = SafeController(inner := Obeys(), LIMITS, hold)
    inner.next = np.array([0.2, 0.1])
    safe.act(seen())
    inner.next = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        safe.act(seen())
    assert safe.report.detail == "the controller failed: KeyboardInterrupt"
    # Who goes on all the same, to bring the robot to rest, gets the command to stay.
    inner.next = np.array([0.4, 0.1])
    assert safe.act(seen()).action.tolist() == [0.2, 0.1]


def test_ctrl_c_during_the_computation_of_the_hold_command_stops_the_robot():
    interrupts = [KeyboardInterrupt()]

    def interrupted(last, observation):
        if interrupts:
            raise interrupts.pop()
        return hold(last, observation)

    safe = SafeController(inner := Obeys(), LIMITS, interrupted)
    inner.next = np.array([0.2, 0.1])
    with pytest.raises(KeyboardInterrupt):
        safe.act(seen())
    assert safe.report.detail == "the controller failed: KeyboardInterrupt"
    command = safe.act(seen())
    assert command.held and command.action.tolist() == [0, 0] and inner.asked == 0


def interrupt_at_line(number, run):
    """Runs it with Ctrl-C before the n-th line of `safety.py` that is executed; false where it has fewer."""
    lines, leaving = 0, False

    def trace(frame, event, _):
        nonlocal lines, leaving
        if not frame.f_code.co_filename.endswith("safety.py") or leaving:
            return None
        if event == "line":
            lines += 1
            if lines == number:
                raise KeyboardInterrupt
        # What is executed after `_alone` has yielded ends the call: there are no two Ctrl-C.
        leaving = event == "return" and frame.f_code.co_name == "_next"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        run()
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(before)
    return False


def test_ctrl_c_at_any_line_stops_the_robot_and_leaves_no_action_taken():
    for number in range(1, 200):
        safe = SafeController(inner := Obeys(), LIMITS, hold)
        inner.next = np.array([0.2, 0.1])
        safe.act(seen())
        inner.next = np.array([0.3, 0.1])
        if not interrupt_at_line(number, lambda safe=safe: safe.act(seen(0.01))):
            break
        # In the first few lines nothing has begun; from then on it is a stop.
        begun = safe.report.stopped is StopReason.FAULT
        assert begun or number <= 4, number
        assert safe.act(seen()).action.tolist() == ([0.2, 0.1] if begun else [0.3, 0.1]), number
    assert number > 30


def test_an_action_taken_back_is_not_used_for_holding():
    failing = []

    def may_fail(last, observation):
        if failing:
            raise RuntimeError("no position")
        return hold(last, observation)

    safe = SafeController(inner := Obeys(), LIMITS, may_fail)
    for x in (0.1, 0.2):
        inner.next = np.array([x, 0])
        safe.act(seen())
    safe.take_back()
    failing.append(True)
    safe.stop("the button")
    assert safe.act(seen()).action.tolist() == [0.1, 0]


@pytest.mark.parametrize("fault", [ValueError("the source is closed"), KeyboardInterrupt()])
def test_a_reset_that_fails_leaves_the_robot_stopped(fault):
    class CannotReset(Obeys):
        def reset(self, seed=None):
            raise fault

    safe = SafeController(inner := CannotReset(), LIMITS, hold)
    with pytest.raises(type(fault)):
        safe.reset(1)
    inner.next = np.array([0.2, 0.1])
    assert safe.act(seen()).action.tolist() == [0, 0] and safe.report.stopped is StopReason.FAULT


def test_a_fault_in_taking_back_stops_the_robot():
    class CannotTakeBack(Obeys):
        def take_back(self):
            raise IndexError("pop from an empty deque")

    safe = SafeController(CannotTakeBack(), LIMITS, hold)
    safe.act(seen())
    safe.take_back()
    assert safe.report.detail == "the controller failed: IndexError: pop from an empty deque"


class Waits(Obeys):
    """Stays in `act` or in `reset` until it is released."""

    def __init__(self):
        super().__init__()
        self.entered, self.go_on = threading.Event(), threading.Event()

    def act(self, observation):
        self._wait()
        return Command(np.array([0.2, 0.2]))

    def reset(self, seed=None):
        self._wait()

    def _wait(self):
        self.entered.set()
        assert self.go_on.wait(30)


def in_thread(run):
    """Runs it in a thread; returns what waits for its result."""
    results = []
    thread = threading.Thread(target=lambda: results.append(run()), name="loop")
    thread.start()

    def result():
        thread.join(30)
        return results[0]

    return result


@pytest.mark.parametrize("second", [lambda safe: safe.act(seen()), lambda safe: safe.reset(), lambda safe: safe.take_back()])
def test_a_second_thread_is_refused_and_the_first_goes_on(second):
    safe = SafeController(inner := Waits(), LIMITS, hold)
    result = in_thread(lambda: safe.act(seen()))
    assert inner.entered.wait(30)
    with pytest.raises(RuntimeError, match=r"thread 'MainThread' during act in thread 'loop': .* one thread at a time"):
        second(safe)
    inner.go_on.set()
    assert result().action.tolist() == [0.2, 0.2] and safe.report.stopped is None
    # One after another, several threads may.
    assert safe.act(seen()).action.tolist() == [0.2, 0.2]


def test_a_stop_from_another_thread_wins_over_the_act_under_way():
    safe = SafeController(inner := Waits(), LIMITS, hold)
    result = in_thread(lambda: safe.act(seen()))
    assert inner.entered.wait(30)
    safe.stop("the button")
    inner.go_on.set()
    command = result()
    assert command.held and command.action.tolist() == [0, 0] and safe.report.stopped_at == 0
    assert safe.report.detail == "stop() was called: the button"


def test_a_stop_from_another_thread_outlasts_the_reset_under_way():
    safe = SafeController(inner := Waits(), LIMITS, hold)
    result = in_thread(lambda: safe.reset(3))
    assert inner.entered.wait(30)
    safe.stop("the button")
    inner.go_on.set()
    result()
    assert safe.report.stopped is StopReason.OUTSIDE and safe.act(seen()).held


def test_a_stop_during_a_reset_is_not_lost_with_the_old_report():
    """The reset replaces the report after the stop has read it and before it writes."""
    safe = SafeController(Obeys(), LIMITS, hold)

    class Slow(type(safe.report)):
        @property
        def steps(self):
            safe.report = type(safe.report).__base__()
            return 0

        @steps.setter
        def steps(self, value): ...

    safe.report = Slow()
    safe.stop("the button")
    assert safe.report.stopped is StopReason.OUTSIDE and not isinstance(safe.report, Slow)


def test_callers_cannot_change_the_limits():
    low, high = np.full(2, -0.5), np.full(2, 0.5)
    safe = SafeController(inner := Obeys(), SafetyLimits(low, high), hold)
    high[:] = 9.0
    inner.next = np.full(2, 3.0)
    assert safe.act(seen()).action.tolist() == [0.5, 0.5]
    with pytest.raises(ValueError, match="read-only"):
        SafetyLimits(low, high).high[0] = 9.0


def test_hold_may_change_its_arguments():
    def opens_the_gripper(last, observation):
        last = np.zeros(2) if last is None else last
        last[1] = -1.0
        return last

    limits = SafetyLimits(-np.ones(2), np.ones(2), np.full(2, RATE))
    safe = SafeController(inner := Obeys(), limits, opens_the_gripper)
    told = []
    for wanted in ([0.0, -0.8], [0.0, -0.6], [0.0, -0.4]):
        inner.next = np.array(wanted)
        told.append(safe.act(seen()).action.tolist())
    assert told == [[0.0, -0.8], [0.0, -0.6], [0.0, -0.4]] and safe.report.slowed == 0

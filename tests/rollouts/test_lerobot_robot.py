"""A robot of LeRobot in the loop: it never waits, and is always held still and disconnected at the end."""

import itertools
import time

import numpy as np
import pytest
from dials import commands, stand_in, written

from paradp.policy import Command
from paradp.policy.control.limits import SafetyLimits, StopReason
from paradp.policy.control.safety import SafeController
from paradp.policy.spec import Interface
from paradp.rollouts.realtime.drive import Driven, drive
from paradp.rollouts.realtime.lerobot_devices import make_device
from paradp.rollouts.realtime.lerobot_robot import COMMAND_SHARE, LeRobotRobot

HZ = 20
SPEC = Interface(
    "reach",
    {"observation.state": 3, "observation.images.camera0": (6, 8, 3)},
    {"action": 3},
    (-9.0,) * 3,
    (9.0,) * 3,
    "as recorded",
    HZ,
)


class Counts:
    """A controller that commands the number of the control step; in some steps it is too slow, in one it fails."""

    def __init__(self, slow=frozenset(), fails=None):
        self.step, self.slow, self.fails = 0, slow, fails

    def reset(self, seed=None):
        self.seed = seed

    def act(self, observation):
        assert observation["observation.images.camera0"].shape == (6, 8, 3)
        if self.step in self.slow:
            time.sleep(1.5 / HZ)
        if self.step == self.fails:
            raise ValueError("a fault in the controller")
        self.step += 1
        return Command(np.full(3, self.step / 100, np.float32))


@pytest.fixture
def robot(tmp_path):
    """Makes robots with settings of the dials; they are closed at the end."""
    made = []

    def make(**settings) -> LeRobotRobot:
        sizes = {"dials": 2, "wheel": True, "views": 1, "height": 6, "width": 8, "diary": str(tmp_path / "diary")}
        made.append(LeRobotRobot(make_device("dials", sizes | settings), SPEC, seed=7))
        return made[-1]

    with stand_in():
        yield make
    for one in made:
        one.close()


def drive_for(robot, controller, steps: int, limits=None) -> tuple[Driven, SafeController]:
    limits = limits or SafetyLimits.of(SPEC)
    guarded, driven, made = SafeController(controller, limits, robot.hold), Driven(), itertools.count(1)

    class Enough(Exception):
        pass

    def count():
        if next(made) >= steps:
            raise Enough

    with pytest.raises(Enough):
        drive(robot, guarded, limits, robot.hold, 600.0, driven, count)
    robot.close()
    return driven, guarded


def test_every_control_step_sends_one_command_and_repeats_it_if_the_next_is_late(robot, tmp_path):
    moving, controller = robot(), Counts(slow={4, 9})
    moving.connect()
    assert commands(tmp_path / "diary") == []  # nothing moves before the first command
    driven, _ = drive_for(moving, controller, 20)
    assert controller.seed == 7 and driven.unsafe == 0 and not driven.stops and driven.episodes == 0
    happened = written(tmp_path / "diary")
    assert [happened[0]["what"], happened[-1]["what"]] == ["connected", "disconnected"]
    sent = [round(100 * one[0]) for one in commands(tmp_path / "diary")]
    repeated = [now for now, then in itertools.pairwise(sent) if now == then]
    assert sent == sorted(sent) and len(repeated) >= 2 and driven.missed >= 2
    assert abs(len(sent) - 1 - driven.ticks) <= 2
    # At the control rate, by the wall clock: late ones are not made up for.
    times = [one["at"] for one in happened if one["what"] == "commanded"][:-1]
    assert np.diff(times).min() > (1 - COMMAND_SHARE) / HZ / 2 and times[-1] - times[0] > 0.9 * (len(times) - 2) / HZ


def test_on_closing_a_robot_holds_its_positions_and_stops_its_wheel(robot, tmp_path):
    moving = robot()
    moving.connect()
    drive_for(moving, Counts(), 5)
    *_, before, last = commands(tmp_path / "diary")
    assert before[2] > 0 and last == [before[0], before[1], 0.0]
    moving.close()  # as often as one likes
    assert [one["what"] for one in written(tmp_path / "diary")].count("disconnected") == 1


def test_an_error_of_the_robot_ends_the_loop_with_a_sentence_and_disconnects_it(robot, tmp_path):
    moving, driven = robot(breaks_at=8), Driven()
    moving.connect()
    guarded = SafeController(Counts(), SafetyLimits.of(SPEC), moving.hold)
    with pytest.raises(ConnectionError, match=r"^the robot has failed: dial_1 does not answer$"):
        drive(moving, guarded, SafetyLimits.of(SPEC), moving.hold, 60.0, driven)
    assert driven.ticks > 2 and written(tmp_path / "diary")[-1]["what"] == "disconnected"
    assert commands(tmp_path / "diary")[-1][2] == 0.0  # what still obeys is stopped


def test_a_fault_of_the_controller_stops_the_robot_and_the_loop_continues(robot, tmp_path):
    moving = robot()
    moving.connect()
    driven, guarded = drive_for(moving, Counts(fails=5), 12)
    assert guarded.report.stopped is StopReason.FAULT and driven.held == 7
    assert commands(tmp_path / "diary")[-1][2] == 0.0


def test_a_robot_that_is_read_too_slowly_is_late_but_moves(robot):
    moving = robot(read_ms=1500 / HZ)
    moving.connect()
    driven, _ = drive_for(moving, Counts(), 8)
    assert driven.late_steps >= 5 and driven.missed < driven.ticks - 3


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"calibrated": False}, "the robot cannot be started: it is not calibrated; lerobot-calibrate does it"),
        ({"breaks_at": 1}, "the robot cannot be started: dial_1 does not answer"),
    ],
)
def test_a_robot_that_cannot_be_started_does_not_move(robot, tmp_path, settings, said):
    moving = robot(**settings)
    with pytest.raises(ConnectionError, match=said):
        moving.connect()
    moving.close()
    assert [one["what"] for one in written(tmp_path / "diary")] == ["connected", "disconnected"]


def test_images_that_differ_from_the_robots_announcement_are_refused_before_it_moves(robot, tmp_path, monkeypatch):
    moving = robot()
    monkeypatch.setattr(
        moving._device, "config", type(moving._device.config)(dials=2, wheel=True, views=1, height=5, width=8)
    )
    with pytest.raises(ConnectionError, match=r"cannot be started: .*camera0' has shape \(5, 8, 3\)"):
        moving.connect()


@pytest.mark.parametrize(
    ("kind", "settings", "said"),
    [
        ("dails", {}, "LeRobot has no robot 'dails'; there are: dials"),
        ("dials", {"dails": 3}, "the robot 'dials' cannot be made: .*dails"),
    ],
)
def test_a_robot_that_lerobot_cannot_make_is_refused(kind, settings, said):
    with stand_in(), pytest.raises(ValueError, match=said):
        make_device(kind, settings)

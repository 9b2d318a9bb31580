"""Whatever a controller does, the robot gets safe commands, and a stop stays in force with its reason."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paradp.policy import Command
from paradp.policy.control.asynchronous import DeadInference, LatePlan
from paradp.policy.control.limits import SafetyLimits, StopReason
from paradp.policy.control.safety import SafeController
from paradp.policy.data.dataset import largest_step

LIMITS = SafetyLimits(
    np.array([-1, -1], np.float32), np.ones(2, np.float32), np.full(2, 0.25, np.float32), np.full(2, 1.1, np.float32), 3
)


class Plays:
    """A controller that plays actions, or raises."""

    def __init__(self, *actions):
        self._actions = iter(actions)
        self.seeds = []

    def reset(self, seed=None):
        self.seeds.append(seed)

    def act(self, observation):
        action = next(self._actions)
        if isinstance(action, Exception):
            raise action
        return Command(np.array(action, np.float32))


def hold(last, observation):
    """A hold function that returns the observed position."""
    return observation["at"] if last is None else last


def observations():
    step = 0
    while True:
        step += 1
        yield {"position": np.array([step, 0], np.float32), "at": np.zeros(2, np.float32)}


def commands(controller, count: int) -> list[list[float]]:
    seen = observations()
    return [controller.act(next(seen)).action.tolist() for _ in range(count)]


def test_safe_commands_pass_unchanged():
    controller = SafeController(Plays([0, 0], [0.25, 0], [0.25, -0.25]), LIMITS, hold)
    assert commands(controller, 3) == [[0, 0], [0.25, 0], [0.25, -0.25]]
    report = controller.report
    assert (report.steps, report.limited, report.slowed, report.stopped) == (3, 0, 0, None)


def test_commands_outside_the_limits_are_clipped_and_large_steps_are_slowed():
    controller = SafeController(Plays([0.9, 0], [1.1, 0], [0.5, -1.1], [0.5, 0], [0.5, 0]), LIMITS, hold)
    told = np.array(commands(controller, 5))
    # The first one, too, is compared with where the robot is.
    assert told[:, 0] == pytest.approx([0.25, 0.5, 0.5, 0.5, 0.5]) and told[:, 1] == pytest.approx([0, 0, -0.25, 0, 0])
    assert (controller.report.limited, controller.report.slowed, controller.report.stopped) == (2, 3, None)


FAULTS = {
    "NaN": ([np.nan, 0], StopReason.NOT_FINITE, "not finite"),
    "infinity": ([np.inf, 0], StopReason.NOT_FINITE, "not finite"),
    "a jump": ([0.2, -1.0], StopReason.JUMP, "dimension 1 of the command goes from 0.2 to -1"),
    "a late plan": (LatePlan("too late"), StopReason.LATE, "too late"),
    "dead inference": (DeadInference("killed"), StopReason.DEAD, "killed"),
    "a broken observation": (ValueError("the observation's 'x' is not finite"), StopReason.FAULT, "'x' is not finite"),
    "a bug": (KeyError("oops"), StopReason.FAULT, "oops"),
    "a number": (0.1, StopReason.FAULT, r"shape (), not (2,)"),
    "one number too many": ([0, 0, 0], StopReason.FAULT, r"shape (3,), not (2,)"),
    "a row": ([[0, 0]], StopReason.FAULT, r"shape (1, 2), not (2,)"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_stops_the_robot_in_the_same_control_step_permanently(name):
    fault, reason, said = FAULTS[name]
    inner = Plays([0.2, 0.2], fault, [0, 0], [0, 0])
    controller = SafeController(inner, LIMITS, hold)
    assert commands(controller, 4) == [[pytest.approx(0.2)] * 2] * 4
    assert controller.report.stopped is reason and said in controller.report.detail and controller.report.stopped_at == 1
    # It moves again after a reset, and asks the controller again.
    controller.reset(7)
    assert inner.seeds == [7] and controller.report.stopped is None
    assert commands(controller, 1) == [[0, 0]]


def test_a_frozen_observation_stops_the_robot():
    controller = SafeController(Plays(*[[0.1 * i, 0] for i in range(9)]), LIMITS, hold)
    commands(controller, 2)
    frozen = {"position": np.array([5, 5], np.float32), "at": np.zeros(2)}
    told = [controller.act(frozen).action[0] for _ in range(5)]
    # Seen once, and three times more: in the fourth control step with it the robot is commanded to hold.
    assert told == pytest.approx([0.2, 0.3, 0.4, 0.4, 0.4])
    assert controller.report.stopped is StopReason.STALE and controller.report.stopped_at == 5


SEEING = replace(LIMITS, cameras=("front", "wrist"), frozen_frames=6)


class Moves:
    """A controller that moves by a fixed amount in every step, or holds."""

    def __init__(self, step: float):
        self._step, self._at = step, 0.0

    def reset(self, seed=None): ...

    def act(self, observation):
        self._at += self._step if abs(self._at + self._step) < 1 else -self._step
        return Command(np.array([self._at, 0], np.float32))


def frames(step: int, frozen: str | None) -> dict[str, np.ndarray]:
    """Two cameras and a state that change in every step; one camera is frozen from step 3 on."""
    images = {key: np.full((4, 4, 3), min(step, 3) if key == frozen else step, np.uint8) for key in SEEING.cameras}
    return {**images, "position": np.array([step, 0], np.float32), "at": np.zeros(2, np.float32)}


@pytest.mark.parametrize("camera", SEEING.cameras)
def test_a_frozen_camera_stops_a_robot_that_moves(camera):
    controller = SafeController(Moves(0.05), SEEING, hold)
    for step in range(30):
        controller.act(frames(step, camera))
    report = controller.report
    # Seen in step 3, and six times more.
    assert (report.stopped, report.stopped_at) == (StopReason.STALE, 9)
    assert f"the camera {camera!r} has shown the same frame for 6 control steps of motion" in report.detail
    controller.reset()
    for step in range(3, 9):
        controller.act(frames(step, camera))
    assert controller.report.stopped is None


@pytest.mark.parametrize("step", [0.0, 0.002])
def test_a_camera_may_show_the_same_while_the_robot_hardly_moves(step):
    """Its joints tremble, which is not visible in an image."""
    controller = SafeController(Moves(step), SEEING, hold)
    for tick in range(100):
        controller.act(frames(tick, "front"))
    assert controller.report.stopped is None


def test_a_camera_that_is_slower_than_the_loop_is_not_frozen():
    controller = SafeController(Moves(0.05), SEEING, hold)
    for tick in range(100):
        controller.act(frames(tick, None) | {"front": np.full((4, 4, 3), tick // 5, np.uint8)})
    assert controller.report.stopped is None


def seen_alone(tick: int) -> dict[str, np.ndarray]:
    return {key: np.full((4, 4, 3), tick, np.uint8) for key in SEEING.cameras}


def test_images_alone_may_come_slower_than_the_loop_and_stop_the_robot_when_they_freeze():
    limits = replace(SEEING, frozen_steps=3)
    slow = SafeController(Moves(0.05), limits, hold_at_zero)
    for tick in range(100):
        slow.act(seen_alone(tick // 5))
    assert slow.report.stopped is None
    frozen = SafeController(Moves(0.05), limits, hold_at_zero)
    for _ in range(20):
        frozen.act(seen_alone(0))
    assert frozen.report.stopped is StopReason.STALE and "the camera 'front'" in frozen.report.detail


def test_limits_on_frozen_sensors_can_be_switched_off():
    controller = SafeController(Moves(0.05), replace(SEEING, frozen_steps=None, frozen_frames=None), hold)
    for _ in range(100):
        controller.act(frames(0, None))
    assert controller.report.stopped is None


def hold_at_zero(last, observation):
    return np.zeros(2, np.float32) if last is None else last


def test_a_velocity_moves_the_robot_though_it_stays_the_same():
    """The command 0 holds it still, not the last command."""
    controller = SafeController(Plays(*[[0.2, 0]] * 30), SEEING, lambda last, seen: np.zeros(2, np.float32))
    for tick in range(30):
        controller.act(frames(tick, "wrist"))
    assert (controller.report.stopped, controller.report.stopped_at) == (StopReason.STALE, 9)


def test_without_a_known_rate_a_share_of_the_range_counts_as_motion():
    limits = SafetyLimits(-np.ones(2), np.ones(2))
    assert limits.moves(np.array([0.02, 0]), np.zeros(2)) and not limits.moves(np.array([0.005, 0]), np.zeros(2))


def test_the_cameras_of_a_policy_are_watched_for_a_second(spec):
    assert SafetyLimits.of(spec).cameras == ()
    seeing = replace(spec, observation={"front": (8, 8, 3), "position": 2}, action_step=(0.1, 0.1), control_hz=30)
    for limits in (SafetyLimits.of(seeing), SafetyLimits.of(replace(seeing, action_step=None))):
        assert limits.cameras == ("front",) and limits.frozen_frames == 30


def test_a_commands_step_is_measured_from_the_last_executed_command():
    controller = SafeController(Plays([0, 0], [0.2, 0], [0.4, 0], [0.4, 0]), LIMITS, hold)
    seen = observations()
    told = [controller.act(next(seen)).action for _ in range(2)]
    controller.take_back()
    # 0.2 never came to be: from 0, no more than 0.25.
    told += [controller.act(next(seen)).action for _ in range(2)]
    assert np.allclose(told, [[0, 0], [0.2, 0], [0.25, 0], [0.4, 0]]) and controller.report.slowed == 1


def test_a_robot_that_holds_may_observe_the_same():
    class Waits:
        def reset(self, seed=None): ...

        def act(self, observation):
            return Command(observation["at"], held=True)

    controller = SafeController(Waits(), LIMITS, hold)
    still = {"position": np.zeros(2, np.float32), "at": np.zeros(2)}
    for _ in range(4 * LIMITS.frozen_steps):
        controller.act(still)
    assert controller.report.stopped is None


def test_an_observation_that_changes_in_any_part_is_not_frozen():
    controller = SafeController(Plays(*[[0, 0]] * 20), LIMITS, hold)
    for step in range(20):
        controller.act({"at": np.zeros(2), "moving": np.array([step % 2])})
    assert controller.report.stopped is None


def test_a_robot_can_be_stopped_by_hand():
    controller = SafeController(Plays([0.1, 0], [0.2, 0]), LIMITS, hold)
    commands(controller, 1)
    controller.stop("the cell's door is open")
    assert commands(controller, 1) == [pytest.approx([0.1, 0])]
    assert controller.report.detail == "stop() was called: the cell's door is open"
    controller.stop("the key is turned")
    assert controller.report.stopped is StopReason.OUTSIDE and "door" in controller.report.detail


def test_a_fault_in_the_first_step_leaves_the_robot_where_it_is():
    controller = SafeController(Plays([np.nan, 0], [0.1, 0.1]), LIMITS, hold)
    assert commands(controller, 2) == [[0, 0]] * 2 and controller.report.stopped is StopReason.NOT_FINITE


def test_a_robot_without_limits_is_not_driven():
    controller = SafeController(Plays([0, 0]), LIMITS, hold)
    with pytest.raises(RuntimeError, match="the holding command is unknown"):
        controller.act({"at": np.full(2, np.nan)})


@pytest.mark.parametrize("wrong", [{"at": np.full(2, np.nan)}, {"at": np.zeros(3)}, {}])
def test_if_holding_fails_the_last_command_is_repeated(wrong):
    def where_it_is_seen(last, observation):
        return observation["at"]

    controller = SafeController(Plays([0.1, 0], ValueError("a fault")), LIMITS, where_it_is_seen)
    assert controller.act({"at": np.array([0.05, 0.0])}).action.tolist() == [pytest.approx(0.1), 0]
    assert [controller.act(wrong).action.tolist() for _ in range(3)] == [[0.05, 0.0]] * 3
    assert controller.report.stopped is StopReason.FAULT


def test_callers_may_change_a_command_afterwards():
    controller = SafeController(Plays([0.1, 0], ValueError("a fault")), LIMITS, hold)
    seen = observations()
    controller.act(next(seen)).action[:] = 0.7
    told = controller.act(next(seen)).action
    assert told.tolist() == [pytest.approx(0.1), 0]
    told[:] = 0.7
    assert controller.act(next(seen)).action.tolist() == [pytest.approx(0.1), 0]


@given(st.lists(st.lists(st.floats(width=32), min_size=2, max_size=2), min_size=1, max_size=30))
def test_no_unsafe_command_is_ever_sent(actions):
    controller = SafeController(Plays(*actions), LIMITS, hold)
    seen, last = observations(), np.zeros(2)
    for _ in actions:
        action = controller.act(next(seen)).action
        assert np.isfinite(action).all() and (np.abs(action) <= 1).all()
        assert (np.abs(action - last) <= 0.25 + 1e-6).all()
        last = action


def test_limits_come_from_the_demonstrations(spec):
    assert SafetyLimits.of(spec).rate is None
    limits = SafetyLimits.of(replace(spec, action_step=(0.1, 0.2)), rate=2, jump=5)
    assert limits.rate.tolist() == pytest.approx([0.2, 0.4]) and limits.jump.tolist() == pytest.approx([0.5, 1.0])
    assert limits.low.tolist() == [-1, -1]
    assert (SafetyLimits.of(replace(spec, action_step=(0.0, 0.2))).rate > 0).all()


def test_demonstrations_know_their_largest_step(demonstrations):
    actions, ends = demonstrations.actions(), demonstrations.episode_ends
    steps = [np.abs(np.diff(part, axis=0)).max(0) for part in np.split(actions, ends[:-1])]
    assert largest_step(demonstrations) == pytest.approx(np.max(steps, axis=0))
    # Between episodes there is no step.
    assert (largest_step(demonstrations) < np.abs(np.diff(actions, axis=0)).max(0)).any()


@pytest.mark.parametrize(
    ("change", "wrong"),
    [({"rate": np.zeros(2)}, "must be positive"), ({"high": np.full(2, -2.0)}, "low must not be above high"),
     ({"jump": np.ones(3)}, r"jump has shape \(3,\)"), ({"frozen_steps": 0}, "frozen_steps must be at least 1"),
     ({"frozen_frames": 0}, "frozen_frames must be at least 1"),
     ({"frozen_steps": float("nan")}, "and a whole number, not nan"), ({"frozen_steps": 2.5}, "a whole number, not 2.5"),
     ({"jump": np.array(["1", "1"])}, "jump must be an array of numbers"), ({"rate": np.full(2, np.nan)}, "be positive")],
)  # fmt: skip
def test_inconsistent_limits_are_refused(change, wrong):
    with pytest.raises(ValueError, match=wrong):
        SafetyLimits(**{"low": -np.ones(2), "high": np.ones(2)} | change)

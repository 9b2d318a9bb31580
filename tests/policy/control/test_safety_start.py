"""A robot that starts outside the action limits: it stays where it is or approaches them slowly, or cannot start."""

import numpy as np
import pytest

from paradp.policy import Command
from paradp.policy.control.limits import SafetyLimits, StopReason
from paradp.policy.control.safety import SafeController

LIMITS = SafetyLimits(np.zeros(2), np.ones(2), np.full(2, 0.1), np.full(2, 0.5))


class Wants:
    """A controller that wants one action, holds the observed position, or raises."""

    def __init__(self, wanted):
        self.wanted = wanted

    def reset(self, seed=None): ...

    def act(self, observation):
        if isinstance(self.wanted, Exception):
            raise self.wanted
        held = self.wanted is None
        return Command(observation["at"] if held else np.array(self.wanted), held=held)


def hold(last, observation):
    return observation["at"] if last is None else last


def commands(controller, at, count: int) -> np.ndarray:
    seen = ({"at": np.array(at), "step": np.array([step])} for step in range(count))
    return np.array([controller.act(one).action for one in seen])


@pytest.mark.parametrize(
    ("at", "said"),
    [
        (
            [0.5, -10.0],
            r"start at -10 in dimension 1 of its position, because the limit is 0 and .* at most 0\.5: move",
        ),
        ([1.75, 0.5], r"cannot start at 1\.75 in dimension 0 of its position, because the limit is 1 and"),
    ],
)
def test_a_robot_far_outside_the_limits_cannot_start(at, said):
    controller = SafeController(Wants([0.3, 0.3]), LIMITS, hold)
    for _ in range(2):
        with pytest.raises(ValueError, match=said):
            commands(controller, at, 1)
    # It can as soon as it has been moved.
    assert np.allclose(commands(controller, [0.3, 0.25], 1), [[0.3, 0.3]]) and controller.report.stopped is None


def test_a_robot_slightly_outside_approaches_the_limits_at_the_rate_limit():
    controller = SafeController(Wants([0.2, 0.5]), LIMITS, hold)
    sent = commands(controller, [-0.25, 0.5], 6)
    assert np.allclose(sent[:, 0], [-0.15, -0.05, 0.05, 0.15, 0.2, 0.2]) and controller.report.stopped is None
    assert controller.report.slowed == 4 and controller.report.limited == 0
    # Once within the limits it cannot leave them.
    controller._controller.wanted = [-0.2, 0.5]
    assert np.allclose(commands(controller, [0.0, 0.5], 3)[:, 0], [0.1, 0.0, 0.0])


def test_a_jump_is_measured_from_the_robots_real_position():
    controller = SafeController(Wants([0.3, 0.5]), LIMITS, hold)
    assert commands(controller, [-0.25, 0.5], 2).tolist() == [[-0.25, 0.5]] * 2
    assert controller.report.stopped is StopReason.JUMP


def test_no_command_leads_further_outside():
    controller = SafeController(Wants([-0.4, 0.5]), LIMITS, hold)
    assert commands(controller, [-0.25, 0.5], 3).tolist() == [[-0.25, 0.5]] * 3 and controller.report.limited == 3


@pytest.mark.parametrize("wanted", [None, [np.nan, 0.5], ValueError("a fault")], ids=str)
def test_a_robot_that_waits_or_is_stopped_outside_the_limits_stays_there(wanted):
    controller = SafeController(Wants(wanted), LIMITS, hold)
    assert commands(controller, [-0.25, 0.5], 3).tolist() == [[-0.25, 0.5]] * 3


def test_a_robot_stopped_before_its_first_step_stays_wherever_it_is():
    controller = SafeController(Wants([0.3, 0.3]), LIMITS, hold)
    controller.stop("the button")
    assert commands(controller, [-10.0, 0.5], 2).tolist() == [[-10.0, 0.5]] * 2


def test_a_stop_on_the_way_into_the_limits_holds_the_last_command():
    controller = SafeController(Wants([0.2, 0.5]), LIMITS, hold)
    commands(controller, [-0.25, 0.5], 1)
    controller.stop("the button")
    assert np.allclose(commands(controller, [-0.25, 0.5], 2), [[-0.15, 0.5]] * 2)


def test_velocities_are_held_at_zero_though_the_demonstrations_never_stood_still():
    limits = SafetyLimits(np.full(2, 0.25), np.ones(2), np.full(2, 0.5), np.ones(2))
    controller = SafeController(Wants([0.5, 0.5]), limits, lambda last, observation: np.zeros(2))
    assert commands(controller, [9.0, 9.0], 2).tolist() == [[0.5, 0.5]] * 2
    controller.stop("the button")
    assert commands(controller, [9.0, 9.0], 2).tolist() == [[0.0, 0.0]] * 2

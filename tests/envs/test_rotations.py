"""Invalid rotations are refused before anything moves, by the environment and by the safety checks."""

import gymnasium
import numpy as np
import pytest

from paradp.checkpoints import find_checkpoint, read_info
from paradp.envs import ACTION_CONVENTIONS
from paradp.envs.rotations import check_rotation_6d, matrix_to_rotation_6d, rotvec_to_matrix
from paradp.policy import Command
from paradp.policy.control.limits import SafetyLimits, StopReason
from paradp.policy.control.safety import SafeController
from paradp.policy.rotations import check_rotation

ROW = np.array([0.6, 0.3, -0.5], np.float32)
NONE = {
    "zeros": np.zeros(6),
    "the first row zero": [0, 0, 0, *ROW],
    "the second row zero": [*ROW, 0, 0, 0],
    "equal rows": [*ROW, *ROW],
    "parallel rows": [*ROW, *(0.3 * ROW)],
    "opposite rows": [*ROW, *(-1.5 * ROW)],
    "rows that rounding alone sets apart": [*ROW, *(ROW + np.float32(1e-6))],
    "rows that are as good as zero": [1e-6, 0, 0, 0, 1e-6, 0],
}
WORDS = r"the action's goal_rot6d \[.*\] is not a rotation: its two rows must not be zero or parallel"


def absolute(rows, observation) -> np.ndarray:
    """An action that keeps the hand's position, with a rotation from these rows."""
    return np.concatenate([observation["eef_pos"], rows, [-1.0]]).astype(np.float32)


@pytest.mark.parametrize("disturbance", [None, "belt"])
def test_the_environment_refuses_an_invalid_rotation_before_anything_moves(disturbance):
    env = gymnasium.make("paradp/Lift-v0", disable_env_checker=True, disturbance=disturbance).unwrapped
    observation, _ = env.reset(seed=0)
    before = env._sim.get_state().flatten()
    for rows in NONE.values():
        with pytest.raises(ValueError, match=WORDS):
            env.step(absolute(rows, observation))
        assert np.array_equal(env._sim.get_state().flatten(), before)
    env.step(absolute(observation["eef_rot6d"], observation))
    assert not np.array_equal(env._sim.get_state().flatten(), before)
    env.close()


class Turns:
    """A controller that holds, and then commands a rotation."""

    def __init__(self, rows):
        self._rows, self._asked = rows, 0

    def reset(self, seed=None):
        self._asked = 0

    def act(self, observation):
        self._asked += 1
        return Command(absolute(observation["eef_rot6d"] if self._asked == 1 else self._rows, observation))


def seen(step: int) -> dict[str, np.ndarray]:
    rows = matrix_to_rotation_6d(rotvec_to_matrix(np.array([0.3, -0.2, 0.1])))
    return {"eef_pos": np.array([0.0, 0.0, 1.0], np.float32), "eef_rot6d": rows.astype(np.float32), "step": np.array([step])}


@pytest.mark.parametrize("rows", NONE.values(), ids=NONE)
def test_the_safety_checks_stop_the_robot_in_the_same_words(rows):
    spec = read_info(find_checkpoint("lift")).spec
    limits = SafetyLimits.of(spec)
    assert limits.rotations == (("goal_rot6d", 3),)
    limits = SafetyLimits(limits.low, limits.high, rotations=limits.rotations)  # not stopped for a jump
    controller = SafeController(Turns(rows), limits, ACTION_CONVENTIONS["absolute"].hold)
    controller.reset(0)
    first, second, third = (controller.act(seen(step)).action for step in range(3))
    assert controller.report.stopped is StopReason.NO_ROTATION and controller.report.stopped_at == 1
    with pytest.raises(ValueError, match=WORDS) as refused:
        ACTION_CONVENTIONS["absolute"].to_robosuite(absolute(rows, seen(0)).clip(limits.low, limits.high))
    assert str(refused.value) in controller.report.detail
    assert np.array_equal(first, second) and np.array_equal(second, third)


def test_an_invalid_rotation_on_the_way_stops_the_robot():
    """A slowed half turn: zero lies between a row and its opposite."""
    low, high = -np.ones(6), np.ones(6)
    limits = SafetyLimits(low, high, rate=np.ones(6), rotations=(("turn_rot6d", 0),))
    rows = np.array([1.0, 0, 0, 0, 1, 0])

    class Flips:
        def reset(self, seed=None): ...
        def act(self, observation):
            return Command(-rows)

    controller = SafeController(Flips(), limits, lambda last, observation: rows if last is None else last)
    assert np.array_equal(controller.act({"step": np.zeros(1)}).action, rows)
    assert controller.report.stopped is StopReason.NO_ROTATION and "turn_rot6d" in controller.report.detail


def test_the_environment_and_the_safety_checks_refuse_the_same_rotations():
    """They cannot import each other, but have the same rule and message."""
    rng = np.random.default_rng(0)
    tried = [np.asarray(rows, np.float32) for rows in NONE.values()]
    tried += [(rng.normal(size=6) * 10.0 ** rng.uniform(-6, 0)).astype(np.float32) for _ in range(200)]
    tried += [
        np.concatenate([row, row * 2 + rng.normal(size=3) * 10.0 ** rng.uniform(-6, 0)]) for row in rng.normal(size=(200, 3))
    ]

    def said(check, rows) -> str:
        try:
            check("turn", rows)
        except ValueError as error:
            return str(error)
        return ""

    answers = [said(check_rotation_6d, rows) for rows in tried]
    assert answers == [said(check_rotation, rows) for rows in tried]
    assert 50 < sum(map(bool, answers)) < 350

"""Action conventions are found by name, and one that contradicts itself is refused."""

from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from paradp.envs import (
    ACTION_CONVENTIONS,
    TASKS,
    BoundedAction,
    RobosuiteEnv,
    RobosuiteTask,
    TwoArmTask,
    conventions,
    find_convention,
    register_convention,
)
from paradp.envs.actions import AbsoluteAction, DeltaAction
from paradp.envs.arms import TWO_ARM_CONVENTIONS, ArmsAction
from paradp.envs.conventions import check_convention, convention_names, described


@dataclass
class Wheels(BoundedAction):
    """Speeds of two wheels."""

    name: str = "wheels"
    unit: str = "m"
    parts: dict = field(default_factory=lambda: {"left": 1, "right": 1})
    units: dict = field(default_factory=lambda: {"left": "m/s", "right": "m/s"})
    low: np.ndarray = field(default_factory=lambda: -np.ones(2, np.float32))
    high: np.ndarray = field(default_factory=lambda: np.ones(2, np.float32))

    def hold(self, last, observation):
        return np.zeros(2, np.float32)

    def path(self, actions):
        return actions.cumsum(0)


@pytest.fixture(autouse=True)
def nothing_is_left_behind(monkeypatch):
    monkeypatch.setattr(conventions, "_brought", {})


@pytest.mark.parametrize("name", ACTION_CONVENTIONS)
def test_the_conventions_of_paradp_are_complete(name):
    check_convention(ACTION_CONVENTIONS[name])
    assert find_convention(name) is ACTION_CONVENTIONS[name]


@pytest.mark.parametrize("name", TWO_ARM_CONVENTIONS)
def test_two_arms_act_as_each_would_alone(name):
    both, alone = TWO_ARM_CONVENTIONS[name], ACTION_CONVENTIONS[name.removeprefix("two-arm-")]
    each = [{f"robot{arm}_{part}": size for part, size in alone.parts.items()} for arm in (0, 1)]
    assert list(both.parts.items()) == [*each[0].items(), *each[1].items()]
    assert set(both.units) == {f"robot{arm}_{part}" for part in alone.units for arm in (0, 1)}
    rng, size = np.random.default_rng(0), len(alone.low)
    actions = rng.uniform(both.low, both.high, (5, 2 * size)).astype(np.float32)
    assert np.array_equal(both.path(actions), np.hstack([alone.path(actions[:, :size]), alone.path(actions[:, size:])]))
    for action in actions:
        commands = [alone.to_robosuite(action[:size]), alone.to_robosuite(action[size:])]
        assert np.array_equal(both.to_robosuite(action), np.concatenate(commands))
    seen = [{"eef_pos": rng.normal(size=3), "eef_rot6d": rng.normal(size=6)} for _ in range(2)]
    observation = {f"robot{arm}_{key}": value for arm in (0, 1) for key, value in seen[arm].items()}
    assert np.array_equal(both.hold(None, observation), np.concatenate([alone.hold(None, own) for own in seen]))
    held = [alone.hold(actions[0, :size], seen[0]), alone.hold(actions[0, size:], seen[1])]
    assert np.array_equal(both.hold(actions[0], observation), np.concatenate(held))


def test_a_convention_of_a_hand_may_define_its_parts_and_units_itself():
    class Pose(AbsoluteAction):
        name = "pose"
        parts = {"pose": 9, "fingers": 1}
        units = {"pose": "m"}

    check_convention(Pose())
    assert Pose().parts == {"pose": 9, "fingers": 1} and Pose().units == {"pose": "m"}


def test_a_bad_rotation_of_one_of_two_arms_is_named():
    action = np.tile([0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0, 1.0, 0.0, -1.0], 2)
    action[16:19] = 0.0
    with pytest.raises(ValueError, match=r"the action's robot1_goal_rot6d \[.*\] is not a rotation"):
        TWO_ARM_CONVENTIONS["two-arm-absolute"].to_robosuite(action)


def test_a_registered_convention_is_found_by_its_name():
    wheels = Wheels()
    register_convention(wheels)
    assert find_convention("wheels") is wheels and "wheels" in convention_names()
    assert wheels.space.shape == (2,)
    with pytest.raises(ValueError, match="two action conventions have the name 'wheels'"):
        register_convention(Wheels())
    with pytest.raises(ValueError, match="two action conventions have the name 'delta'"):
        register_convention(Wheels("delta"))


def test_the_error_for_an_unknown_name_lists_the_known_ones():
    with pytest.raises(ValueError, match=r"unknown action convention 'delto' — did you mean 'delta'\? There are: absolute,"):
        find_convention("delto")


@pytest.mark.parametrize(
    "change, message",
    [
        ({"low": np.zeros(3, np.float32)}, "its low must be a float32 array of 2 values"),
        ({"high": np.ones(2)}, "its high must be a float32 array of 2 values"),
        ({"parts": {"left": 1}}, "of 1 values, as many as its parts have"),
        ({"low": np.ones(2, np.float32)}, "every low must be below its high"),
        ({"high": np.array([1, np.inf], np.float32)}, "both finite"),
    ],
)
def test_limits_that_do_not_fit_are_named(change, message):
    with pytest.raises(ValueError, match=f"the action convention 'wheels': .*{message}"):
        register_convention(Wheels(**change))


def test_a_missing_member_is_named():
    with pytest.raises(ValueError, match="is a dict and lacks name, unit, parts, units, low, high, hold, path"):
        check_convention({})
    with pytest.raises(ValueError, match="is a class"):
        check_convention(Wheels)


def test_a_convention_is_described_in_words():
    assert described("wheels", {"left": 1, "right": 1}) == "wheels (left 1, right 1: 2 values)"


POT = {"name": "pot", "robosuite_name": "TwoArmLift", "objects": {"pot": "pot_root"}, "success_rule": "it is lifted"}


@pytest.mark.parametrize(
    "task, settings, message",
    [
        (
            RobosuiteTask,
            {"hands": ("robot0_", "robot1_")},
            "'absolute' is for one hand without a name, the task has the hands 'robot0_', 'robot1_'",
        ),
        (
            TwoArmTask,
            {"hands": ("left_", "right_")},
            "'two-arm-absolute' is for the hands 'robot0_', 'robot1_', the task has the hands 'left_', 'right_'",
        ),
        (RobosuiteTask, {"conventions": ("position",)}, "'position' is not for robosuite's arms: it lacks hands"),
    ],
)
def test_a_task_whose_conventions_are_for_other_hands_is_refused(task, settings, message):
    with pytest.raises(ValueError, match=message):
        task(**POT, **settings)


def test_a_registered_convention_of_two_arms_is_checked_when_it_is_used():
    own = ArmsAction("left-right", [AbsoluteAction("left_"), AbsoluteAction("right_")])
    pot = TwoArmTask(**POT, conventions=("left-right",))
    with pytest.raises(ValueError, match="unknown action convention 'left-right'"):
        RobosuiteEnv(pot)
    register_convention(own)
    with pytest.raises(
        ValueError, match="'left-right' is for the hands 'left_', 'right_', the task has the hands 'robot0_'"
    ):
        RobosuiteEnv(pot)
    assert TASKS["two-arm-lift"].expert("left-right")._each == own.hands
    register_convention(Wheels())
    with pytest.raises(ValueError, match="'wheels' is not for robosuite's arms: it lacks hands, controller_options, to_rob"):
        TASKS["lift"].expert("wheels")


class SinglePrecision(DeltaAction):
    """A hand's convention of another package: the simulator takes double precision only."""

    name = "single-precision"

    def to_robosuite(self, action):
        return action.astype(np.float32)


def test_a_hand_convention_of_another_package_moves_the_robot():
    register_convention(SinglePrecision())
    lift = TASKS["lift"].task
    envs = [RobosuiteEnv(replace(lift, conventions=("single-precision",))), RobosuiteEnv(lift, "delta")]
    for env in envs:
        env.reset(seed=0)
    action = np.array([0.3, -0.2, 0.1, 0.1, 0.2, -0.3, 1.0], np.float32)
    for _ in range(3):
        theirs, ours = (env.step(action)[0] for env in envs)
        assert all(np.array_equal(theirs[key], ours[key]) for key in ours)
    with pytest.raises(ValueError, match="the action is not finite"):
        envs[0].step(np.full(7, np.nan, np.float32))
    for env in envs:
        env.close()

"""The choice of the control step's implementation, and the warning if it is not the compiled one."""

import logging

import gymnasium
import pytest

import paradp.envs  # noqa: F401
from paradp.envs import simulators
from paradp.envs.simulators import COMPILED, ORIGINAL, VARIABLE


@pytest.fixture(autouse=True)
def say_it_again():
    simulators._tell.cache_clear()


@pytest.fixture(scope="module")
def robosuite():
    env = gymnasium.make("paradp/Lift-v0").unwrapped
    env.reset(seed=0)
    assert env.simulator == COMPILED
    yield env._robosuite
    env.close()


def test_robosuites_own_control_step_is_used_on_request(monkeypatch, robosuite):
    monkeypatch.setenv(VARIABLE, ORIGINAL)
    assert simulators.choose(robosuite) == ORIGINAL
    monkeypatch.setenv(VARIABLE, "")
    assert simulators.choose(robosuite) == COMPILED


def test_an_unknown_simulator_is_refused(monkeypatch):
    monkeypatch.setenv(VARIABLE, "robosuit")
    with pytest.raises(ValueError, match="PARADP_SIMULATOR='robosuit' is not a simulator; there are: compiled, robosuite"):
        gymnasium.make("paradp/Lift-v0")
    with pytest.raises(ValueError, match=r"^'mujoco' is not a simulator"):
        gymnasium.make("paradp/Lift-v0", simulator="mujoco")


def arm(robosuite):
    return robosuite.robots[0].part_controllers["right"]


def gripper(robosuite):
    return robosuite.robots[0].part_controllers["right_gripper"]


UNKNOWN = {
    "robosuite": (lambda _: __import__("robosuite"), "__version__", "1.6.0", "robosuite 1.5.2, not 1.6.0"),
    "older MuJoCo": (lambda _: __import__("mujoco"), "__version__", "3.2.7", "MuJoCo 3.3 to below 3.10, not 3.2.7"),
    "newer MuJoCo": (lambda _: __import__("mujoco"), "__version__", "3.10.1", "not 3.10.1"),
    "whole physics": (lambda env: env, "lite_physics", False, "Lift makes its control steps differently"),
    "another robot": (lambda env: env, "robots", [None], "robots on a fixed base"),
    "impedance": (arm, "impedance_mode", "variable", "impedance mode fixed, not variable"),
    "interpolator": (arm, "interpolator_pos", object(), "does not interpolate"),
    "limits": (arm, "position_limits", [[0, 0, 0], [1, 1, 1]], "it does not limit goals"),
    "frame": (arm, "input_ref_frame", "base", "not absolute in the base"),
    "goals upon goals": (arm, "_goal_update_mode", "desired", "absolute goals and deltas in the world"),
    "position only": (arm, "use_ori", False, "OSC_POSE"),
    "gripper's range": (gripper, "input_max", 2, "GRIP controller"),
    "raw gripper": (gripper, "use_action_scaling", False, "actions are scaled"),
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_unsupported_simulations_use_robosuites_own_step_and_the_log_gives_the_reason(name, robosuite, monkeypatch, caplog):
    of, attribute, value, why = UNKNOWN[name]
    monkeypatch.setattr(of(robosuite), attribute, value)
    with caplog.at_level(logging.WARNING):
        assert [simulators.choose(robosuite) for _ in range(3)] == [ORIGINAL] * 3
    [record] = caplog.records
    assert why in record.message
    assert "using robosuite's own" in record.message

"""Compiled code converts actions to robosuite's commands as the convention says, or refuses them before anything moves."""

import itertools
from typing import NamedTuple

import gymnasium
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import njit

import paradp.envs  # noqa: F401  (registers the environments)
from paradp.envs.actions import HAND_CONVENTIONS, check_action
from paradp.envs.arms import ROBOT_CONVENTIONS
from paradp.envs.compiled.commands import bind_command
from paradp.envs.compiled.compiling import bind
from paradp.envs.rotations import matrix_to_rotation_6d, rotvec_to_matrix
from paradp.envs.simulators import COMPILED

COMMANDS = {name: bind_command(convention) for name, convention in ROBOT_CONVENTIONS.items()}
NUMBERS = st.floats(-2, 2, width=32) | st.sampled_from([0.0, -0.0, 1.0, -1.0, 1e-4, 1e-5, np.nan, np.inf, -np.inf])


class Pair(NamedTuple):
    values: np.ndarray
    offset: float


def plain(convention, action):
    """The convention's own result, without compiled code; `None` if it refuses."""
    try:
        check_action(convention, action)
        return convention.to_robosuite(action)
    except ValueError:
        return None


def same(mine, theirs) -> bool:
    if mine is None or theirs is None:
        return mine is theirs
    return mine.dtype == np.float64 and np.allclose(mine, theirs, rtol=0, atol=1e-14)


@given(data=st.data())
@settings(max_examples=150, deadline=None)
@pytest.mark.parametrize("name", ROBOT_CONVENTIONS)
def test_any_action_is_converted_as_its_convention_defines(name, data):
    convention = ROBOT_CONVENTIONS[name]
    action = np.array(data.draw(st.lists(NUMBERS, min_size=(size := convention.space.shape[0]), max_size=size)), np.float32)
    assert same(COMMANDS[name](action.astype(np.float64)), plain(convention, action))


def test_rotations_about_every_axis_and_by_half_a_turn_are_converted_as_the_convention_defines():
    convention, rng = HAND_CONVENTIONS["absolute"], np.random.default_rng(0)
    axes = [np.array(axis) for axis in itertools.product([-1.0, 0.0, 1.0], repeat=3)][:13] + list(rng.normal(size=(20, 3)))
    for axis, angle in itertools.product(axes, [0.0, 1e-9, 0.5, np.pi / 2, np.pi - 1e-9, np.pi]):
        rows = matrix_to_rotation_6d(rotvec_to_matrix(angle * axis / np.linalg.norm(axis)))
        action = np.concatenate([[0.1, 0.2, 1.0], rows, [1.0]])
        command = COMMANDS["absolute"](action)
        assert same(command, convention.to_robosuite(action))
        assert np.linalg.norm(command[3:6]) == pytest.approx(angle, abs=1e-7)


@pytest.fixture(scope="module", params=ROBOT_CONVENTIONS)
def env(request):
    task = "Lift" if request.param in HAND_CONVENTIONS else "TwoArmLift"
    env = gymnasium.make(f"paradp/{task}-v0", disable_env_checker=True, action_convention=request.param).unwrapped
    env.reset(seed=0)
    assert env.simulator == COMPILED
    yield env
    env.close()


def test_a_refused_action_moves_nothing_and_is_named(env):
    observation, _ = env.reset(seed=0)
    good = env.convention.hold(None, observation)
    before = env._sim.get_state().flatten()
    for place, value in itertools.product(range(len(good)), (np.nan, np.inf, -np.inf)):
        bad = good.copy()
        bad[place] = value
        with pytest.raises(ValueError, match=r"the action is not finite: \["):
            env.step(bad)
    for bad in (good[:-1], np.append(good, 0), good[None], np.float32(0)):
        with pytest.raises(ValueError, match=rf"the action has shape \(.*\), {env.convention.name} needs"):
            env.step(bad)
    assert np.array_equal(env._sim.get_state().flatten(), before)


def test_an_action_is_converted_independently_of_its_memory_layout(env):
    observation, _ = env.reset(seed=0)
    action = env.convention.hold(None, observation) + np.float32(0.01)
    forms = {
        "as it is": action,
        "of double precision": action.astype(np.float64),
        "every second number": np.repeat(action, 2)[::2],
        "backwards": action[::-1].copy()[::-1],
        "a list": action.tolist(),
        "read-only": np.frombuffer(action.tobytes(), np.float32),
        "of the other byte order": action.astype(">f4"),
    }
    ends = {}
    for name, form in forms.items():
        env.reset(seed=0)
        for _ in range(2):  # the first step is robosuite's in part
            env.step(form)
        ends[name] = env._sim.get_state().flatten()
    for name, end in ends.items():
        assert np.array_equal(end, ends["as it is"]), name


def test_arguments_of_each_type_get_compiled_code_for_this_type():
    """Code for another type would misread their memory."""
    second = njit(lambda pair: pair.values[1] + pair.offset)
    numbers = np.arange(8.0)
    for values, offset in [(numbers, 2), (numbers, 0.5), (numbers.astype(np.int32), 2), (numbers[::2], 2)]:
        assert bind(second, Pair(values, offset))() == values[1] + offset

"""Disturbances: their effect on the object, reproducibility by seed, and no effect without them."""

import subprocess
import sys
from dataclasses import replace

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from paradp.envs import DISTURBANCES, TASKS, find_disturbance
from paradp.envs.actions import CLOSE, OPEN
from paradp.envs.disturbances import BeltDisturbance, PushDisturbance
from paradp.envs.tasks.lift import LiftExpert

HAND_DOWN = [0, 1, 0, 1, 0, 0]
SETTLED = 12  # control steps until a placed object lies still
BOTH = pytest.mark.parametrize("name", DISTURBANCES)
ALL_TASKS = pytest.mark.parametrize("task", [name for name, entry in TASKS.items() if entry.task.disturbances])


@pytest.fixture(scope="module")
def make():
    """Environments by task and disturbance, made once: earlier simulations must not matter."""
    built = {}

    def make(task: str, name: str | None):
        if (task, name) not in built:
            built[task, name] = gymnasium.make(TASKS[task].task.env_id, disturbance=name)
        return built[task, name]

    yield make
    for env in built.values():
        env.close()


def stay(observation) -> np.ndarray:
    return np.array([-0.1, 0, 1.1, *HAND_DOWN, OPEN], np.float32)


def hover(observation) -> np.ndarray:
    """Follows the object eight centimetres above it."""
    [key] = [key for key in observation if key in ("nut_pos", "cube_pos")]
    return np.array([*(observation[key] + [0, 0, 0.08]), *HAND_DOWN, OPEN], np.float32)


def episode(env, seed, act, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Observations `[steps + 1, O]`, and whether the disturbance had acted by then `[steps + 1]`."""
    observation, info = env.reset(seed=seed)
    observations, acted = [observation], [info.get("disturbed")]
    for _ in range(steps):
        observation, *_, info = env.step(act(observation))
        observations.append(observation)
        acted.append(info.get("disturbed"))
    return np.array([np.concatenate(list(o.values())) for o in observations]), np.array(acted)


def object_path(observations: np.ndarray) -> np.ndarray:
    """The object's positions `[steps, 3]`: they follow the grip site's pose and the fingers."""
    return observations[:, 11:14].astype(float)


@ALL_TASKS
@BOTH
def test_a_seed_repeats_a_disturbed_episode_to_the_bit(make, task, name):
    env = make(task, name)
    first, acted = episode(env, 3, hover, 60)
    other, _ = episode(env, 4, hover, 60)
    again, _ = episode(env, 3, hover, 60)
    assert acted[-1] and not acted[0]
    assert np.array_equal(first, again) and not np.array_equal(first, other)


@BOTH
def test_two_processes_agree(name):
    program = (
        "import gymnasium, paradp.envs, numpy as np\n"
        f"env = gymnasium.make('paradp/Lift-v0', disturbance='{name}')\n"
        "o, _ = env.reset(seed=11)\n"
        "for _ in range(60):\n"
        f"    a = np.array([*(o['cube_pos'] + [0, 0, 0.08]), *{HAND_DOWN}, -1], np.float32)\n"
        "    o, *_, info = env.step(a)\n"
        "print(info['disturbed'], {k: v.tolist() for k, v in o.items()})"
    )
    outputs = {subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stdout for _ in range(2)}
    assert len(outputs) == 1 and outputs.pop().startswith("True {'eef_pos'")


@ALL_TASKS
@BOTH
def test_an_episode_equals_the_undisturbed_one_until_the_disturbance_begins(make, task, name):
    calm, none = episode(make(task, None), 5, hover, 60)
    shaken, acted = episode(make(task, name), 5, hover, 60)
    assert set(none) == {None}
    begins = int(acted.argmax())
    assert begins > 0 and np.array_equal(calm[:begins], shaken[:begins])
    assert not np.array_equal(calm[-1], shaken[-1])


@ALL_TASKS
def test_without_a_hand_nearby_there_is_no_push(make, task):
    calm, _ = episode(make(task, None), 6, stay, 60)
    left_alone, acted = episode(make(task, "push"), 6, stay, 60)
    assert not acted.any() and np.array_equal(calm, left_alone)


@ALL_TASKS
def test_a_push_moves_the_object_some_centimetres(make, task):
    env, directions = make(task, "push"), []
    for seed in range(4):
        observations, acted = episode(env, seed, hover, 90)
        before = int(acted.argmax()) - 1
        assert 0 < before < 85
        path, hand = object_path(observations), observations[before, :3]
        assert np.linalg.norm(hand - path[before]) < PushDisturbance.near_m + 0.03  # the hand is near
        way = path[before + 4] - path[before]
        assert PushDisturbance.distance_m[0] - 0.005 < np.linalg.norm(way[:2]) < PushDisturbance.distance_m[1] + 0.005
        assert abs(way[2]) < 0.003
        directions.append(np.arctan2(way[1], way[0]))
    assert np.ptp(directions) > 0.5


@ALL_TASKS
def test_pushes_without_end_leave_the_object_on_the_table_and_in_the_area(make, task):
    env = make(task, "push")
    path = object_path(episode(env, 1, hover, 300)[0])
    moved = np.linalg.norm(np.diff(path[SETTLED:, :2], axis=0), axis=1) > 0.005
    assert moved.sum() >= 3
    assert_stays(path, task, slack=0.005)


@ALL_TASKS
def test_the_belt_runs_at_its_speed_reverses_and_stays_in_the_area(make, task):
    env = make(task, "belt")
    path = object_path(episode(env, 0, stay, 400)[0])[SETTLED:]
    step = np.diff(path[:, 1])
    assert np.allclose(np.abs(step), BeltDisturbance.speed / 20, atol=2e-5)
    assert (step > 0).any() and (step < 0).any()
    assert np.ptp(path[:, 0]) < 0.002
    assert_stays(path, task, slack=0.0)


def test_the_seed_determines_the_belts_direction(make):
    env = make("lift", "belt")
    ways = {np.sign(np.diff(object_path(episode(env, seed, stay, 14)[0])[-2:, 1])[0]) for seed in range(6)}
    assert ways == {-1, 1}


@BOTH
def test_an_object_in_the_hand_is_not_disturbed(make, name):
    env, expert = make("lift", name), LiftExpert(variety=None)
    expert.reset(0)
    observation, _ = env.reset(seed=0)
    closing = 0
    while closing < 4:
        action = expert.act(observation).action
        closing = closing + 1 if action[-1] == CLOSE else 0
        observation, *_ = env.step(action)
    observations = [env.step(action)[0] for _ in range(60)]
    assert np.abs(observations[-1]["gripper_qpos"]).sum() > 0.03  # there is something between the fingers
    held = [o["cube_pos"] for o in observations[20:]]  # the hand has come to its last goal
    assert np.ptp(held, axis=0).max() < 0.002


@BOTH
def test_without_a_seed_the_random_stream_continues(make, name):
    env = make("lift", name)

    def two_episodes():
        return episode(env, 7, hover, 40)[0], episode(env, None, hover, 40)[0]

    first, second = two_episodes(), two_episodes()
    assert np.array_equal(first[1], second[1]) and not np.array_equal(first[0], first[1])


@BOTH
def test_environments_pass_gymnasiums_check_and_vector_envs_report_disturbances(name):
    env = gymnasium.make("paradp/Square-v0", disturbance=name)
    check_env(env.unwrapped, skip_render_check=True)
    env.close()
    envs = gymnasium.make_vec("paradp/Lift-v0", num_envs=2, vectorization_mode="sync", disturbance=name)
    assert envs.reset(seed=[0, 1])[1]["disturbed"].tolist() == [False, False]
    envs.close()


def test_errors_name_wrong_settings():
    with pytest.raises(ValueError, match=r"unknown disturbance 'blet' — did you mean 'belt'\? There are: push, belt\."):
        find_disturbance("blet")
    with pytest.raises(ValueError, match="unknown disturbance 'wind'"):
        gymnasium.make("paradp/Lift-v0", disturbance="wind")
    lift = TASKS["lift"].task
    for task, complaint in (
        (replace(lift, area=None), "'lift' has no object or no area"),
        (replace(lift, objects={"table": "table"}), "'table' does not move freely"),
    ):
        with pytest.raises(ValueError, match=complaint):
            gymnasium.make("paradp/Lift-v0", task=task, disturbance="push")


def test_two_arms_are_not_disturbed():
    pot = TASKS["two-arm-lift"].task
    assert replace(pot, area=TASKS["lift"].task.area).disturbances == ()


def assert_stays(path: np.ndarray, task: str, slack: float) -> None:
    low, high = np.array(TASKS[task].task.area)
    assert (path[:, :2] > low - slack).all() and (path[:, :2] < high + slack).all()
    assert np.ptp(path[SETTLED:, 2]) < 0.005

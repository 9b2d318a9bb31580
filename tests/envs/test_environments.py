"""The gymnasium environments: correct, seeded, and equal however they are run."""

import subprocess
import sys
import warnings
import weakref
from dataclasses import replace

import gymnasium
import numpy as np
import pytest
from gymnasium.error import ClosedEnvironmentError
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode

import paradp.envs  # noqa: F401  (registers the environments)
from paradp.envs import TASKS, RobosuiteEnv, RobosuiteTask, find_task
from paradp.envs.actions import HAND_CONVENTIONS
from paradp.envs.rotations import (
    matrix_to_rotation_6d,
    matrix_to_rotvec,
    rotation_6d_to_matrix,
    rotvec_to_matrix,
    wrap_angle,
    yaw_matrix,
)

IDS = [entry.task.env_id for entry in TASKS.values() if isinstance(entry.task, RobosuiteTask)]


def equal(a: dict, b: dict) -> bool:
    return a.keys() == b.keys() and all(np.array_equal(a[key], b[key]) for key in a)


def random_walk(env, seed: int, steps: int = 12) -> list[dict]:
    observation, _ = env.reset(seed=seed)
    rng = np.random.default_rng(seed)
    path = [observation]
    for _ in range(steps):
        path.append(env.step(rng.uniform(-0.3, 0.3, 7).astype(np.float32))[0])
    return path


@pytest.mark.parametrize("env_id", IDS)
@pytest.mark.parametrize("convention", HAND_CONVENTIONS)
def test_environments_pass_gymnasiums_check(env_id, convention):
    env = gymnasium.make(env_id, action_convention=convention)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        check_env(env.unwrapped, skip_render_check=True)
    # It would like actions in [−1, 1], which absolute ones in metres are not.
    complaints = [str(w.message) for w in caught if "symmetric and normalized" not in str(w.message)]
    assert complaints == []
    env.close()


@pytest.mark.parametrize("env_id", IDS)
def test_a_seed_repeats_an_episode_bit_by_bit_after_any_other_simulation(env_id):
    env = gymnasium.make(env_id, action_convention="delta")
    first = random_walk(env, 3)
    other = random_walk(env, 4, steps=40)
    again = random_walk(env, 3)
    assert all(equal(a, b) for a, b in zip(first, again, strict=True))
    assert not equal(first[0], other[0])
    env.close()


@pytest.mark.parametrize("env_id", IDS)
def test_two_processes_agree(env_id):
    program = (
        "import gymnasium, paradp.envs, numpy as np\n"
        f"env = gymnasium.make('{env_id}', action_convention='delta')\n"
        "o, _ = env.reset(seed=11)\n"
        "for _ in range(5): o, *_ = env.step(np.full(7, 0.2, np.float32))\n"
        "print({k: v.tolist() for k, v in o.items()})"
    )
    outputs = {subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stdout for _ in range(2)}
    assert len(outputs) == 1 and "eef_pos" in outputs.pop()


@pytest.mark.parametrize("env_id", IDS)
def test_without_a_seed_episodes_differ(env_id):
    envs = [gymnasium.make(env_id) for _ in range(2)]
    assert not equal(*(env.reset()[0] for env in envs))
    for env in envs:
        env.close()


@pytest.mark.parametrize("env_id", IDS)
def test_the_first_observation_shows_the_scene(env_id):
    """robosuite's own first observation has zeros for relative poses; ours must agree with the absolute ones."""
    env = gymnasium.make(env_id)
    observation, info = env.reset(seed=0)
    assert info == {"success": False}
    eef = rotation_6d_to_matrix(observation["eef_rot6d"].astype(float))
    name = next(iter(env.unwrapped.task.objects))
    expected = eef.T @ (observation[f"{name}_pos"] - observation["eef_pos"])
    assert np.allclose(observation[f"{name}_in_eef_pos"], expected, atol=1e-6)
    relative = eef.T @ rotation_6d_to_matrix(observation[f"{name}_rot6d"].astype(float))
    assert np.allclose(rotation_6d_to_matrix(observation[f"{name}_in_eef_rot6d"].astype(float)), relative, atol=1e-5)
    assert np.linalg.norm(observation[f"{name}_in_eef_pos"]) > 0.05
    env.close()


def test_both_conventions_move_the_hand_to_the_same_place():
    goals = {}
    for name in HAND_CONVENTIONS:
        env = gymnasium.make("paradp/Lift-v0", action_convention=name)
        observation, _ = env.reset(seed=0)
        target = observation["eef_pos"] + np.array([0.03, -0.04, 0.02])
        rotation = rotation_6d_to_matrix(observation["eef_rot6d"].astype(float))
        for _ in range(30):
            if name == "absolute":
                action = np.concatenate([target, matrix_to_rotation_6d(rotation), [-1]])
            else:
                here = rotation_6d_to_matrix(observation["eef_rot6d"].astype(float))
                turn = matrix_to_rotvec(rotation @ here.T) / 0.5
                action = np.concatenate([(target - observation["eef_pos"]) / 0.05, turn, [-1]])
            observation, *_ = env.step(action.astype(np.float32))
        goals[name] = observation["eef_pos"] - target
        env.close()
    assert np.abs(goals["absolute"]).max() < 0.003 and np.abs(goals["delta"]).max() < 0.003


def test_an_absolute_action_is_neither_scaled_nor_clipped():
    env = gymnasium.make("paradp/Lift-v0")
    observation, _ = env.reset(seed=0)
    high = np.concatenate([[0.1, 0.1, 1.15], observation["eef_rot6d"], [-1]]).astype(np.float32)
    assert env.action_space.contains(high)  # 1.15 m lies beyond robosuite's ±1
    for _ in range(60):
        observation, *_ = env.step(high)
    assert np.abs(observation["eef_pos"] - high[:3]).max() < 0.01
    env.close()


def test_sync_and_async_vector_envs_give_equal_episodes():
    paths = {}
    for mode in ("sync", "async"):
        envs = gymnasium.make_vec(
            "paradp/Square-v0",
            num_envs=2,
            vectorization_mode=mode,
            vector_kwargs={"autoreset_mode": AutoresetMode.DISABLED} | ({"context": "spawn"} if mode == "async" else {}),
            action_convention="delta",
        )
        observation, _ = envs.reset(seed=[5, 6])
        path = [observation]
        rng = np.random.default_rng(0)
        for _ in range(8):
            observation, *_, info = envs.step(rng.uniform(-0.3, 0.3, (2, 7)).astype(np.float32))
            path.append(observation)
        assert info["success"].tolist() == [False, False]
        paths[mode] = path
        envs.close()
    assert all(equal(a, b) for a, b in zip(paths["sync"], paths["async"], strict=True))


def test_an_episode_is_truncated_after_400_steps():
    assert all(gymnasium.spec(env_id).max_episode_steps == 400 for env_id in IDS)
    env = gymnasium.make("paradp/Lift-v0", action_convention="delta")
    env.reset(seed=0)
    for step in range(400):
        *_, terminated, truncated, info = env.step(np.zeros(7, np.float32))
        assert not terminated and truncated == (step == 399)
    assert info == {"success": False}
    env.close()


def test_a_task_is_simulated_at_its_own_rate():
    env = RobosuiteEnv(replace(TASKS["lift"].task, control_hz=10), "delta")
    env.reset(seed=0)
    env.step(np.zeros(7, np.float32))
    assert env.metadata["render_fps"] == 10
    assert env._sim.data.time == pytest.approx(0.1, abs=1e-6)
    env.close()


def test_frames_show_the_scene():
    env = gymnasium.make("paradp/Square-v0", render_mode="rgb_array", render_size=(96, 128))
    env.reset(seed=0)
    first = env.render()
    assert first.shape == (96, 128, 3) and first.dtype == np.uint8 and first.std() > 20
    env.reset(seed=1)
    assert np.abs(env.render().astype(int) - first).max() > 50  # the nut lies elsewhere
    env.close()


@pytest.mark.parametrize("disturbance", [None, "push"])
def test_a_closed_environment_holds_no_simulator(disturbance):
    """Each reserves over a gigabyte of address space."""
    env = gymnasium.make("paradp/Lift-v0", render_mode="rgb_array", disturbance=disturbance).unwrapped
    observation, _ = env.reset(seed=0)
    env.render()
    env.step(np.concatenate([observation["eef_pos"], observation["eef_rot6d"], [-1]]).astype(np.float32))
    data = weakref.ref(env._sim.data._data)
    state = env._sim.get_state().flatten()
    env.close()
    assert data() is None
    # Its memory is free: whoever goes on gets an error, not another's numbers or a crash.
    for use in (env.reset, env.render, lambda: env.step(env.action_space.low), lambda: env.see(state)):
        with pytest.raises(ClosedEnvironmentError, match="the environment is closed"):
            use()
    env.close()


def test_errors_name_wrong_settings():
    with pytest.raises(ValueError, match=r"unknown task 'sqare' — did you mean 'square'\? There are: square, lift"):
        find_task("sqare")
    with pytest.raises(ValueError, match="unknown action convention 'velocity'; there are: absolute, delta"):
        gymnasium.make("paradp/Lift-v0", action_convention="velocity")
    env = gymnasium.make("paradp/Lift-v0", disable_env_checker=True).unwrapped
    env.reset(seed=0)
    with pytest.raises(ValueError, match=r"shape \(7,\), absolute needs \(10,\)"):
        env.step(np.zeros(7))
    with pytest.raises(ValueError, match="not finite"):
        env.step(np.full(10, np.nan))
    env.close()


def test_rotations_round_trip():
    rng = np.random.default_rng(0)
    for _ in range(20):
        rotvec = rng.normal(size=3)
        matrix = rotvec_to_matrix(rotvec)
        assert np.allclose(rotation_6d_to_matrix(matrix_to_rotation_6d(matrix)), matrix)
        assert np.allclose(rotvec_to_matrix(matrix_to_rotvec(matrix)), matrix)
        blurred = rotation_6d_to_matrix(matrix_to_rotation_6d(matrix) + 0.05 * rng.normal(size=6))
        assert np.allclose(blurred @ blurred.T, np.eye(3)) and np.linalg.det(blurred) == pytest.approx(1)
    assert np.allclose(yaw_matrix(0.3), rotvec_to_matrix(np.array([0, 0, 0.3])))
    assert wrap_angle(3 * np.pi / 2) == pytest.approx(-np.pi / 2) and wrap_angle(0.1) == pytest.approx(0.1)
    assert np.isfinite(rotation_6d_to_matrix(np.zeros(6))).all()

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
from paradp.envs.arms import ArmsAction
from paradp.envs.rotations import (
    matrix_to_rotation_6d,
    matrix_to_rotvec,
    rotation_6d_to_matrix,
    rotvec_to_matrix,
    wrap_angle,
    yaw_matrix,
)

HAND_TASKS = [entry.task for entry in TASKS.values() if isinstance(entry.task, RobosuiteTask)]
IDS = [task.env_id for task in HAND_TASKS]


def equal(a: dict, b: dict) -> bool:
    return a.keys() == b.keys() and all(np.array_equal(a[key], b[key]) for key in a)


def make_by_steps(env_id: str, **options):
    """An environment whose actions are relative."""
    [delta] = [name for name in gymnasium.spec(env_id).kwargs["task"].conventions if name.endswith("delta")]
    return gymnasium.make(env_id, action_convention=delta, **options)


def random_walk(env, seed: int, steps: int = 12) -> list[dict]:
    observation, _ = env.reset(seed=seed)
    rng = np.random.default_rng(seed)
    path = [observation]
    for _ in range(steps):
        path.append(env.step(rng.uniform(-0.3, 0.3, env.action_space.shape).astype(np.float32))[0])
    return path


@pytest.mark.parametrize(("task", "convention"), [(task, name) for task in HAND_TASKS for name in task.conventions])
def test_environments_pass_gymnasiums_check(task, convention):
    env = gymnasium.make(task.env_id, action_convention=convention)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        check_env(env.unwrapped, skip_render_check=True)
    # It would like actions in [−1, 1], which absolute ones in metres are not.
    complaints = [str(w.message) for w in caught if "symmetric and normalized" not in str(w.message)]
    assert complaints == []
    env.close()


@pytest.mark.parametrize("env_id", IDS)
def test_a_seed_repeats_an_episode_bit_by_bit_after_any_other_simulation(env_id):
    env = make_by_steps(env_id)
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
        f"env = gymnasium.make('{env_id}', action_convention='{make_by_steps(env_id).unwrapped.convention.name}')\n"
        "o, _ = env.reset(seed=11)\n"
        "for _ in range(5): o, *_ = env.step(np.full(env.action_space.shape, 0.2, np.float32))\n"
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
    name = next(iter(env.unwrapped.task.objects))
    for hand in env.unwrapped.task.hands:
        eef = rotation_6d_to_matrix(observation[f"{hand}eef_rot6d"].astype(float))
        expected = eef.T @ (observation[f"{name}_pos"] - observation[f"{hand}eef_pos"])
        assert np.allclose(observation[f"{name}_in_{hand}eef_pos"], expected, atol=1e-6)
        relative = eef.T @ rotation_6d_to_matrix(observation[f"{name}_rot6d"].astype(float))
        seen = rotation_6d_to_matrix(observation[f"{name}_in_{hand}eef_rot6d"].astype(float))
        assert np.allclose(seen, relative, atol=1e-5)
        assert np.linalg.norm(observation[f"{name}_in_{hand}eef_pos"]) > 0.05
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


def test_two_arms_go_where_each_is_told_in_either_convention():
    """Their bases are turned against each other, and still a step is one of the world."""
    ends = {}
    for name in TASKS["two-arm-lift"].task.conventions:
        env = gymnasium.make("paradp/TwoArmLift-v0", action_convention=name)
        convention = env.unwrapped.convention
        assert isinstance(convention, ArmsAction) and env.action_space.shape == (sum(convention.parts.values()),)
        observation, _ = env.reset(seed=0)
        aims = {"robot0_": np.array([0.03, -0.04, 0.06]), "robot1_": np.array([-0.05, 0.02, 0.04])}
        targets = {hand: observation[f"{hand}eef_pos"] + aim for hand, aim in aims.items()}
        rotations = {hand: observation[f"{hand}eef_rot6d"] for hand in aims}
        for _ in range(30):
            parts = []
            for hand, target in targets.items():
                if name == "two-arm-absolute":
                    parts += [target, rotations[hand], [-1]]
                else:
                    here, wanted = (
                        rotation_6d_to_matrix(rows.astype(float))
                        for rows in (observation[f"{hand}eef_rot6d"], rotations[hand])
                    )
                    parts += [(target - observation[f"{hand}eef_pos"]) / 0.05, matrix_to_rotvec(wanted @ here.T) / 0.5, [-1]]
            observation, *_ = env.step(np.concatenate(parts).clip(-1, 1.4).astype(np.float32))
        ends[name] = [observation[f"{hand}eef_pos"] - target for hand, target in targets.items()]
        env.close()
    assert all(np.abs(off).max() < 0.003 for off in ends.values())


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


def test_an_episode_is_truncated_after_400_steps_and_toolhangs_after_700():
    limits = {env_id: gymnasium.spec(env_id).max_episode_steps for env_id in IDS}
    assert limits == dict.fromkeys(IDS, 400) | {"paradp/ToolHang-v0": 700}
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

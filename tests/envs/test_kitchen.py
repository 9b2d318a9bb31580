"""Kitchen: gymnasium-robotics' environment by our conventions, and an expert that does its four subtasks."""

from importlib.util import find_spec

import gymnasium
import numpy as np
import pytest

from paradp.envs import TASKS, ActionNoise, render_problem
from paradp.envs.kitchen_task import ENTRIES, SUBTASKS

pytestmark = pytest.mark.skipif(find_spec("gymnasium_robotics") is None, reason="needs the extra kitchen")


@pytest.fixture(scope="module")
def env():
    made = gymnasium.make(TASKS["kitchen"].task.env_id, render_mode="rgb_array")
    yield made
    made.close()


@pytest.fixture(scope="module")
def expert():
    return TASKS["kitchen"].expert()


def drive(env, expert, seed: int):
    """Rewards of an episode, its last info, and the commands."""
    observation, info = env.reset(seed=seed)
    expert.reset(seed)
    rewards, commands, done = [], [], False
    while not done:
        commands.append(expert.act(observation))
        assert env.action_space.contains(commands[-1].action) and env.action_space.contains(commands[-1].label)
        observation, reward, terminated, truncated, info = env.step(commands[-1].action)
        rewards.append(reward)
        done = terminated or truncated
    return rewards, info, commands


def test_observations_equal_those_of_gymnasium_robotics(env):
    observation, info = env.reset(seed=3)
    assert env.observation_space.contains(observation) and info == {"success": False, "subtasks": ()}
    kitchen = env.unwrapped._kitchen
    theirs, _ = kitchen.reset(seed=3)
    assert np.array_equal(observation["joints"], theirs["observation"][:7].astype(np.float32))
    positions = kitchen.data.qpos
    for key, entries in ENTRIES.items():
        assert observation[key] == pytest.approx(positions[entries.start : entries.stop], abs=2e-3), key


def test_the_rate_of_the_simulator_is_the_one_shown(env):
    assert TASKS["kitchen"].task.simulated_hz == pytest.approx(1 / env.unwrapped._kitchen.robot_env.dt)


def test_a_step_equals_that_of_gymnasium_robotics(env):
    from gymnasium_robotics.envs.franka_kitchen.kitchen_env import KitchenEnv as Theirs

    theirs, rng = Theirs(tasks_to_complete=list(SUBTASKS)), np.random.default_rng(0)
    observation, _ = env.reset(seed=5)
    theirs.reset(seed=5)
    for _ in range(20):
        action = rng.uniform(-1, 1, 9).astype(np.float32)
        observation, *_ = env.step(action)
        seen, *_ = theirs.step(action.astype(np.float64))
    assert np.array_equal(observation["kettle_pos"], seen["observation"][18 + 14 : 18 + 17].astype(np.float32))
    assert np.array_equal(env.unwrapped._kitchen.data.qpos, theirs.data.qpos)
    theirs.close()


def test_a_seed_repeats_an_episode_after_any_other(env):
    def episode():
        observation, _ = env.reset(seed=11)
        return [observation["joints"], *(env.step(np.full(9, 0.1, np.float32))[0]["joints"] for _ in range(10))]

    first = np.stack(episode())
    env.reset(seed=12)
    env.step(np.ones(9, np.float32))
    assert np.array_equal(first, np.stack(episode()))
    env.reset(seed=12)
    assert not np.array_equal(first[0], env.reset(seed=12)[0]["joints"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"action_convention": "absolute"}, "unknown action convention 'absolute'; there are: joint-velocity"),
        ({"disturbance": "push"}, "the task 'kitchen' has no disturbances"),
        ({"render_mode": "human"}, "unknown render mode 'human'; there is: rgb_array"),
    ],
)
def test_unknown_settings_are_refused(options, message):
    from paradp.envs.kitchen_env import KitchenEnv

    with pytest.raises(ValueError, match=message):
        KitchenEnv(TASKS["kitchen"].task, **options)


def test_an_impossible_action_is_refused_before_anything_moves(env):
    env.reset(seed=0)
    before = env.unwrapped._kitchen.data.qpos.copy()
    for action, message in ((np.zeros(7), "needs \\(9,\\)"), (np.full(9, np.nan), "is not finite")):
        with pytest.raises(ValueError, match=message):
            env.unwrapped.step(action)
    assert np.array_equal(before, env.unwrapped._kitchen.data.qpos)


def test_the_expert_completes_the_four_subtasks_in_several_orders(env, expert):
    orders, ends = set(), []
    for seed in range(200_000, 200_004):
        rewards, info, _ = drive(env, expert, seed)
        assert rewards == sorted(rewards) and rewards[-1] == len(info["subtasks"])
        ends.append(info["success"])
        orders.add(info["subtasks"])
    assert sum(ends) >= 3 and len(orders) >= 2
    assert all(set(order) <= set(SUBTASKS) for order in orders)


def test_the_same_seed_repeats_the_demonstration_and_another_differs(env, expert):
    def labels(seed):
        observation, _ = env.reset(seed=0)
        expert.reset(seed)
        made = []
        for _ in range(30):
            made.append(expert.act(observation).label)
            observation, *_ = env.step(made[-1])
        return np.stack(made)

    first = labels(1)
    assert not np.array_equal(first, labels(2))
    assert np.array_equal(first, labels(1))


def test_the_expert_recovers_from_action_noise(env):
    shaken = TASKS["kitchen"].expert(action_noise=ActionNoise(0.1, 0.01))
    ends = [drive(env, shaken, seed) for seed in range(200_000, 200_003)]
    assert sum(info["success"] for _, info, _ in ends) >= 2
    commands = ends[0][2]
    moved = np.abs([command.action - command.label for command in commands])
    assert moved[:, :7].max() > 1e-3 and moved[:, 7:].max() == 0  # the fingers are not shaken


def test_inverse_kinematics_reaches_the_wanted_pose(expert):
    from paradp.envs.tasks.kitchen import REST

    arm = expert._arm
    expert.reset(0)
    arm.place(np.concatenate([REST, np.zeros(16), [-0.269, 0.35, 1.62, 1, 0, 0, 0]]))
    poses = (([-0.36, 0.5, 2.3], (5, -20)), ([-0.6, 0.35, 1.9], (38, -45)), ([0.1, 0.5, 2.5], (-20, -5)))
    for target, aimed in poses:
        wanted = expert._aim(*aimed)
        position, rotation = arm.pose_at(arm.far_joints(np.array(target), wanted, REST))
        assert np.linalg.norm(position - target) < 0.01 and np.abs(rotation - wanted).max() < 0.15
    here, _ = arm.hand()
    assert np.array_equal(here, arm.pose_at(REST)[0])  # looking elsewhere moves nothing


@pytest.mark.skipif(render_problem() is not None, reason="no frames can be drawn here")
def test_episodes_are_filmed(env):
    env.reset(seed=0)
    first = env.render()
    for _ in range(5):
        env.step(np.ones(9, np.float32))
    moved = np.abs(env.render().astype(int) - first).max(-1) > 30
    assert first.shape == (512, 512, 3) and moved.sum() > 1000  # the robot, too, is drawn

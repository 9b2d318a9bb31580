"""PushT: gym-pusht with our conventions, and an expert that plans its pushes."""

import warnings
from dataclasses import replace

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from hypothesis import given
from hypothesis import strategies as st

from paradp.envs import TASKS, ActionNoise
from paradp.envs.experts.push_planner import BlockPose, PushPlanner
from paradp.envs.pusht_env import PushTEnv, make_board

KINDS = ("pusht", "pusht-state")
BOTH = pytest.mark.parametrize("kind", KINDS)


def make(kind: str, **options):
    return gymnasium.make(TASKS[kind].task.env_id, **options)


def equal(a: dict, b: dict) -> bool:
    return a.keys() == b.keys() and all(np.array_equal(a[key], b[key]) for key in a)


def drive(kind: str, seed: int, action_noise: ActionNoise | None = None) -> tuple[bool, float, int]:
    """The expert's episode: success, the most of the goal that was covered, control steps."""
    env, expert = make(kind), TASKS[kind].expert(action_noise=action_noise)
    observation, info = env.reset(seed=seed)
    expert.reset(seed)
    rewards, done = [], False
    while not done:
        command = expert.act(observation)
        assert env.action_space.contains(command.label) and env.action_space.contains(command.action)
        observation, reward, terminated, truncated, info = env.step(command.action)
        rewards.append(reward)
        done = terminated or truncated
    env.close()
    return info["success"], max(rewards), len(rewards)


@BOTH
def test_environments_pass_gymnasiums_check(kind):
    env = make(kind)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # Pixels are neither symmetric nor normalised, as they are in gym-pusht.
        warnings.filterwarnings("ignore", message=".*symmetric and normalized")
        check_env(env.unwrapped, skip_render_check=True)
    assert gymnasium.spec(env.spec.id).max_episode_steps == 300
    env.close()


@BOTH
def test_a_seed_repeats_an_episode_to_the_bit(kind):
    env, rng = make(kind), np.random.default_rng(0)
    actions = rng.uniform(0, 512, (20, 2)).astype(np.float32)

    def walk(seed):
        return [env.reset(seed=seed)[0], *(env.step(action)[0] for action in actions)]

    first, other, again = walk(3), walk(4), walk(3)
    assert all(equal(a, b) for a, b in zip(first, again, strict=True)) and not equal(first[0], other[0])
    env.close()


def gym_pusht():
    """gym-pusht's own environment, with frames of our size."""
    from gym_pusht.envs.pusht import PushTEnv as Theirs

    return Theirs(
        obs_type="environment_state_agent_pos",
        render_mode="rgb_array",
        visualization_width=512,
        visualization_height=512,
    )


def targets(board, seed: int):
    """Goals of the disc for each step: random ones, then the T."""
    rng = np.random.default_rng(seed)
    for _ in range(50):
        yield rng.uniform(0, 512, 2).astype(np.float32)
    for _ in range(100):
        yield (np.array(board.block.position) + rng.normal(0, 30, 2)).astype(np.float32)


@pytest.mark.parametrize("seed", range(4))
def test_a_step_equals_gym_pushts(seed):
    """Physics and observation to the bit, coverage to 1e-12, also on another goal."""
    ours, theirs = make("pusht").unwrapped, gym_pusht()
    ours.reset(seed=seed), theirs.reset(seed=seed)
    if seed % 2:
        ours._board.goal_pose = theirs.goal_pose = np.random.default_rng(seed).uniform([150, 150, -3], [350, 350, 3])
    contacts = 0
    for action in targets(theirs, seed):
        seen, reward, success, _, _ = ours.step(action)
        their_seen, their_reward, their_success, _, info = theirs.step(action.astype(float))
        contacts += info["n_contacts"]
        for body, their_body in ((ours._board.agent, theirs.agent), (ours._board.block, theirs.block)):
            for name in ("position", "velocity", "angle", "angular_velocity"):
                assert getattr(body, name) == getattr(their_body, name)
        assert np.array_equal(seen["block_keypoints"], their_seen["environment_state"].astype(np.float32))
        assert np.array_equal(seen["agent_pos"], their_seen["agent_pos"].astype(np.float32))
        assert reward == pytest.approx(their_reward, rel=0, abs=1e-12) and success == their_success
    assert contacts > 0
    assert np.array_equal(ours.render(), theirs.render())


@pytest.mark.parametrize("seed", (500, 503))
def test_the_experts_episode_equals_that_of_gym_pusht(seed):
    """To the end, when the T lies on its goal."""
    ours, theirs = make("pusht"), gym_pusht()
    expert, done, rewards = TASKS["pusht"].expert(), False, []
    (observation, _), _ = ours.reset(seed=seed), theirs.reset(seed=seed)
    expert.reset(seed)
    while not done:
        action = expert.act(observation).action
        observation, reward, done, truncated, info = ours.step(action)
        _, their_reward, their_done, _, their_info = theirs.step(action.astype(float))
        rewards.append((reward, their_reward))
        assert (done, info["success"]) == (their_done, their_info["is_success"]) and not truncated
    assert info["success"] and np.max(rewards) == 1.0 > np.min(rewards)
    assert np.allclose(*np.transpose(rewards), rtol=0, atol=1e-12)


@pytest.fixture(scope="module")
def boards():
    """paradp's board and gym-pusht's."""
    both = make_board(), gym_pusht()
    for board in both:
        board.reset(seed=0)
    return both


@given(
    goal=st.tuples(st.floats(150, 350), st.floats(150, 350), st.floats(-4, 4)),
    away=st.tuples(*[st.integers(-60, 60)] * 3),
    unit=st.sampled_from([1.0, 1e-2, 1e-4]),
)
def test_coverage_equals_gym_pushts_for_any_poses_of_goal_and_t(boards, goal, away, unit):
    """For edges that coincide, or are apart by much more than rounding."""
    pose = np.array(goal) + unit * np.array(away) * (1, 1, 0.03)
    for board in boards:
        board.goal_pose = np.array(goal)
        board.block.angle, board.block.position = float(pose[2]), tuple(pose[:2])
    ours, theirs = (board._get_coverage() for board in boards)
    assert ours == pytest.approx(theirs, rel=0, abs=1e-12)


def test_a_reward_does_not_depend_on_the_order_of_the_boxes():
    """gym-pusht sums over the T's two boxes in the order of a set, which differs between episodes."""
    env = make("pusht")
    board = env.unwrapped._board
    poses = np.random.default_rng(0).uniform([236, 236, 0.5], [276, 276, 1.1], (50, 3))  # around the goal
    orders, ours, theirs = set(), set(), set()
    for _ in range(30):
        env.reset(seed=5)
        orders.add(next(iter(board.block.shapes)) is board._block_shapes[0])
        covered = []
        for x, y, angle in poses:
            board.block.angle, board.block.position = angle, (x, y)
            covered.append((board.coverage, super(type(board), board)._get_coverage()))
        ours.add(tuple(pair[0] for pair in covered))
        theirs.add(tuple(pair[1] for pair in covered))
    assert orders == {True, False} and len(theirs) > 1
    assert len(ours) == 1 and np.allclose(next(iter(ours)), next(iter(theirs)), rtol=0, atol=1e-12)
    env.close()


def test_coverage_is_exact_where_edges_nearly_coincide():
    """gym-pusht intersects the whole T's, with an error of up to 1e-11 there."""
    board = make("pusht").unwrapped._board
    board.reset(seed=0)
    goal = board.get_goal_pose_body(board.goal_pose)
    for away in 10.0 ** np.arange(-12, 1):
        board.block.angle = goal.angle
        board.block.position = goal.local_to_world((away, away))
        right, down = goal.world_to_local(board.block.position)  # rounded
        # The bar is 120 by 30, the stem below it 30 by 90; moved down, the bar covers a strip of the stem.
        kept = (120 - right) * (30 - down) + (30 - right) * (90 - down) + 30 * down
        assert board.coverage == pytest.approx(kept / (120 * 30 + 30 * 90), rel=0, abs=1e-14)


def test_both_kinds_of_observations_show_the_same_board():
    corners, pose = (make(kind) for kind in KINDS)
    planner = PushPlanner()
    for seed in range(5):
        (seen, _), (told, _) = corners.reset(seed=seed), pose.reset(seed=seed)
        assert np.array_equal(seen["agent_pos"], told["agent_pos"])
        cos, sin = told["block_angle"].astype(float)
        there = BlockPose(told["block_pos"].astype(float), float(np.arctan2(sin, cos)))
        assert np.allclose(there.to_world(planner.corners), seen["block_keypoints"].reshape(-1, 2), atol=1e-3)
        found = planner.pose(seen["block_keypoints"].astype(float).reshape(-1, 2))
        assert np.allclose(found.position, there.position, atol=1e-2)
        assert np.cos(found.angle - there.angle) == pytest.approx(1)


def test_a_planned_push_has_the_planned_result():
    """The planner's simulation of a push ends in the same poses as the board's."""
    env, planner = make("pusht-state").unwrapped, PushPlanner()
    env.reset(seed=1)
    board = env._board
    pose = BlockPose(np.array(board.block.position), board.block.angle)
    for push in planner.pushes(pose, 9.0)[::20]:
        board.agent.position, board.agent.velocity = tuple(push.start), (0.0, 0.0)
        board.block.angle = pose.angle
        board.block.position = tuple(pose.position)
        board.space.reindex_shapes_for_body(board.agent)
        board.space.reindex_shapes_for_body(board.block)
        assert np.allclose([*board.block.position, board.block.angle], [*pose.position, pose.angle])
        for step in range(1, push.steps + 1):
            env.step(push.goal(step))
        there = BlockPose(np.array(board.block.position), board.block.angle)
        assert planner.error(there) == pytest.approx(push.error, abs=0.5)


def test_the_reward_is_the_share_that_is_covered():
    env = make("pusht").unwrapped
    env.reset(seed=0)
    board = env._board
    board.agent.position = (40.0, 40.0)
    goal = tuple(board.goal_pose[:2])
    board.block.angle = float(board.goal_pose[2])
    for away, least, most in ((0.0, 1.0, 1.0), (15.0, 0.6, 0.95), (300.0, 0.0, 0.0)):
        board.block.position = (goal[0] + away, goal[1])
        board.space.reindex_shapes_for_body(board.block)
        _, reward, terminated, _, info = env.step(np.array([40.0, 40.0]))
        assert least <= reward <= most and terminated == info["success"] == (away == 0.0)
        # Of Diffusion Policy's reward: coverage over 0.95, one at most.
        *_, covered = board.step(np.array([40.0, 40.0]))
        assert reward == pytest.approx(min(covered["coverage"] / 0.95, 1.0), abs=1e-6)


def test_a_task_is_simulated_at_its_own_rate_and_gains():
    usual = TASKS["pusht"].task
    env = PushTEnv(replace(usual, control_hz=20, controller={"kp": 50.0, "kv": 10.0}))
    start = env.reset(seed=0)[0]["agent_pos"]
    slower = env.step(start + 50.0)[0]["agent_pos"] - start
    env = PushTEnv(usual)
    env.reset(seed=0)
    # Half the time, half the gains.
    assert (slower > 0).all() and (slower < 0.4 * (env.step(start + 50.0)[0]["agent_pos"] - start)).all()


def test_earlier_plans_do_not_affect_a_plan():
    env, used = make("pusht-state").unwrapped, PushPlanner()
    for seed in range(3):
        env.reset(seed=seed)
        block = env._board.block
        pose = BlockPose(np.array(block.position), block.angle)
        fresh = PushPlanner()
        for one, other in zip(used.pushes(pose, 9.0), fresh.pushes(pose, 9.0), strict=True):
            assert (one.steps, one.error) == (other.steps, other.error)


def test_errors_name_wrong_settings():
    env = make("pusht", disable_env_checker=True).unwrapped
    env.reset(seed=0)
    with pytest.raises(ValueError, match=r"shape \(3,\), position needs \(2,\)"):
        env.step(np.zeros(3))
    with pytest.raises(ValueError, match="not finite"):
        env.step(np.array([np.nan, 0]))
    with pytest.raises(ValueError, match="unknown action convention 'absolute'; there are: position"):
        make("pusht", action_convention="absolute")
    with pytest.raises(ValueError, match="has no disturbances"):
        make("pusht", disturbance="push")


def test_frames_show_the_board():
    env = make("pusht", render_mode="rgb_array")
    env.reset(seed=0)
    first = env.render()
    assert first.shape == (512, 512, 3) and first.dtype == np.uint8 and first.std() > 10
    env.reset(seed=1)
    assert np.abs(env.render().astype(int) - first).max() > 50


@BOTH
def test_the_expert_pushes_the_t_home(kind):
    success, covered, steps = drive(kind, 500)
    assert success and covered == 1.0 and steps < 300


@pytest.mark.slow
def test_the_expert_succeeds_with_action_noise():
    shaken = ActionNoise(noise=0.1, push_chance=0.01)
    assert sum(drive("pusht", seed, shaken)[0] for seed in range(510, 516)) >= 5

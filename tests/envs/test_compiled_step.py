"""The compiled control step equals robosuite's own up to rounding."""

from concurrent.futures import ThreadPoolExecutor
from threading import Thread
from unittest import mock

import gymnasium
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paradp.envs import TASKS, RobosuiteTask, find_task
from paradp.envs.compiled import linear_algebra
from paradp.envs.simulators import COMPILED, ORIGINAL
from paradp.scripts.studies.same_physics import Moment, state

HAND_TASKS = [name for name, entry in TASKS.items() if isinstance(entry.task, RobosuiteTask)]
FAST = ("stack", "two-arm-lift")
# Of positions and velocities, rad and m and per second.
EQUAL = 1e-10


def make(task, convention, simulator, **options):
    made = gymnasium.make(find_task(task).task.env_id, action_convention=convention, simulator=simulator, **options)
    return made.unwrapped


@pytest.fixture(
    scope="module",
    params=[
        pytest.param((task, convention), id=f"{task}-{convention}", marks=[] if task in FAST else [pytest.mark.slow])
        for task in HAND_TASKS
        for convention in find_task(task).task.conventions
    ],
)
def three(request):
    """The same environment with robosuite's own step, with the compiled one, and with robosuite's own once more."""
    envs = [make(*request.param, simulator) for simulator in (ORIGINAL, COMPILED, ORIGINAL)]
    assert [env.simulator for env in envs] == [ORIGINAL, COMPILED, ORIGINAL]
    yield envs
    for env in envs:
        env.close()


@pytest.fixture(scope="module")
def pair(three):
    return three[:2]


def wander(env, observation, rng, steps):
    """Random actions: goals in the whole workspace, some out of reach, turns, and a gripper that opens and closes."""
    low, high = env.action_space.low, env.action_space.high
    if env.convention.name.endswith("delta"):
        yield from (rng.uniform(low, high).astype(np.float32) for _ in range(steps))
        return
    hands = env.task.hands
    positions = [observation[f"{hand}eef_pos"] for hand in hands]
    for step in range(steps):
        if step % 8 == 0:
            goals = [rng.uniform(low[:3], high[:3]) for _ in hands]
        positions = [at + np.clip(goal - at, -0.05, 0.05) for at, goal in zip(positions, goals, strict=True)]
        yield poses(env, observation, positions, rng)


def poses(env, observation, positions, rng):
    """An action: each hand about a place, turned a little, the gripper any way."""
    parts = []
    for hand, position in zip(env.task.hands, positions, strict=True):
        tilt = (observation[f"{hand}eef_rot6d"] + 0.3 * rng.normal(size=6)).clip(-1, 1)
        parts += [position, tilt, [rng.choice([-1, 1])]]
    return np.concatenate(parts).astype(np.float32)


def same(mine, theirs):
    (seen, *rest), (seen_there, *rest_there) = mine, theirs
    assert rest == rest_there
    for key in seen_there:
        assert np.allclose(seen[key], seen_there[key], rtol=0, atol=1e-6), key


def test_a_free_run_without_contacts_equals_robosuites(pair):
    original, ours = pair
    rng = np.random.default_rng(3)
    start, _ = original.reset(seed=3)
    assert all(np.array_equal(start[key], value) for key, value in ours.reset(seed=3)[0].items())
    for _ in range(25):
        action = 0.3 * rng.uniform(-1, 1, original.action_space.shape).astype(np.float32)
        if original.convention.name.endswith("absolute"):
            near = [start[f"{hand}eef_pos"] + rng.uniform(-0.05, 0.05, 3) for hand in original.task.hands]
            action = poses(original, start, near, rng)
        same(ours.step(action), original.step(action))
        assert np.abs(state(ours) - state(original)).max() < EQUAL


def test_every_step_from_a_state_of_robosuite_ends_in_robosuites_next_state(three):
    """Contacts amplify rounding: where a step differs by more, so does robosuite's own from a state 1e-15 aside."""
    original, ours, shaken = three
    rng = np.random.default_rng(4)
    start, _ = original.reset(seed=4)
    for env in (ours, shaken):
        env.reset(seed=4)
    departed = 0
    for step, action in enumerate(wander(original, start, rng, 50)):
        if step:
            now = Moment.of(original)
            for env in (ours, shaken):
                now.put(env)
            shaken._sim.data.qpos[:] += 1e-15 * rng.choice([-1, 1], shaken._sim.model.nq)
        (_, *told), (_, *told_by_robosuite), _ = (env.step(action) for env in (ours, original, shaken))
        assert told == told_by_robosuite
        here, robosuite, elsewhere = map(state, (ours, original, shaken))
        difference = np.abs(here - robosuite).max()
        departed += difference > EQUAL
        assert difference < max(EQUAL, 100 * np.abs(elsewhere - robosuite).max())
    assert departed <= 3


@given(seed=st.integers(0, 2**32 - 1), steps=st.integers(1, 4))
@settings(max_examples=8, deadline=None)
def test_any_goals_from_any_scene_give_robosuites_states(pair, seed, steps):
    original, ours = pair
    original.reset(seed=seed)
    ours.reset(seed=seed)
    low, high = original.action_space.low, original.action_space.high
    rng = np.random.default_rng(seed)
    for _ in range(steps):
        action = rng.uniform(low, high).astype(np.float32)
        same(ours.step(action), original.step(action))
        assert np.abs(state(ours) - state(original)).max() < EQUAL


def test_a_replayed_state_and_a_hard_reset_change_nothing(pair):
    original, ours = pair
    start, _ = original.reset(seed=5)
    ours.reset(seed=5)
    action = original.convention.hold(None, start)
    for _ in range(3):
        original.step(action)
    recorded = original._sim.get_state().flatten()
    for env in pair:  # at once after the reset, where robosuite's controller still remembers the scene of the reset
        env.reset(seed=5)
        env.see(recorded)
    for _ in range(3):
        same(ours.step(action), original.step(action))
        assert np.abs(state(ours) - state(original)).max() < EQUAL
    for env in pair:
        with mock.patch.object(env._robosuite, "hard_reset", True):
            env.reset(seed=6)
    for _ in range(3):
        same(ours.step(action), original.step(action))
        assert np.abs(state(ours) - state(original)).max() < EQUAL


@pytest.mark.parametrize("disturbance", ["push", "belt"])
def test_disturbances_have_the_same_effect(disturbance):
    original, ours = (make("lift", "absolute", simulator, disturbance=disturbance) for simulator in (ORIGINAL, COMPILED))
    start, _ = original.reset(seed=2)
    ours.reset(seed=2)
    goal = np.concatenate([start["cube_pos"] + [0, 0, 0.06], start["eef_rot6d"], [-1]]).astype(np.float32)
    for _ in range(90):
        mine, theirs = ours.step(goal), original.step(goal)
        same(mine, theirs)
        assert np.abs(state(ours) - state(original)).max() < EQUAL
    assert mine[-1]["disturbed"]
    original.close()
    ours.close()


def test_environments_step_side_by_side_in_threads():
    """Compiled steps release Python's lock, and environments do not affect each other."""
    envs = [make("lift", "delta", COMPILED) for _ in range(2)]
    actions = np.random.default_rng(0).uniform(-1, 1, (2, 40, 7)).astype(np.float32)

    def run(i):
        envs[i].reset(seed=i)
        for action in actions[i]:
            envs[i].step(action)
        return state(envs[i])

    alone = [run(0), run(1)]
    with ThreadPoolExecutor(2) as pool:
        together = list(pool.map(run, range(2)))
    assert np.array_equal(alone, together)
    for env in envs:
        env.close()


def test_other_threads_run_while_a_control_step_is_made():
    """If a step held Python's lock, others would only run at its begin, its end, and the end of robosuite's substep."""
    env = make("lift", "absolute", COMPILED)
    observation, _ = env.reset(seed=0)
    command = env.convention.to_robosuite(env.convention.hold(None, observation))
    env._simulator.step._substeps = 2000
    for _ in ("the first step after a reset", "a later one"):
        thread = Thread(target=env.simulate, args=(command,))
        thread.start()
        seen = set()
        while thread.is_alive():
            seen.add(env._sim.data.time)
        assert len(seen) > 3
    env.close()


@pytest.mark.parametrize("n", [1, 3, 6, 7])
def test_small_systems_are_solved(n):
    rng = np.random.default_rng(n)
    for _ in range(20):
        root, wanted, room = rng.normal(size=(n, n)), rng.normal(size=n), np.empty((n, n))
        matrix = root @ root.T + 0.1 * np.eye(n)
        found = matrix @ wanted
        linear_algebra.solve(matrix, found, room)
        assert np.allclose(found, wanted, rtol=0, atol=1e-11)


def test_a_singular_system_gets_robosuites_pseudo_inverse():
    rng = np.random.default_rng(0)
    root = rng.normal(size=(6, 4))
    matrix, vector = root @ root.T, rng.normal(size=6)
    assert not linear_algebra.cholesky(matrix, np.empty((6, 6)))
    found = vector.copy()
    linear_algebra.solve(matrix, found, np.empty((6, 6)))
    # The cut of its singular values is by their size, so rounding decides what of the rest is kept: compare what it maps.
    assert np.allclose(matrix @ found, root @ np.linalg.pinv(root) @ vector, atol=1e-6)

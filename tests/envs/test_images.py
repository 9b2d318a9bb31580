"""Environments with cameras: images as in published data sets, of the same episodes."""

import warnings

import gymnasium
import numpy as np
import pytest
from gym_pusht.envs.pymunk_override import DrawOptions
from gymnasium.utils.env_checker import check_env

from paradp.envs import ACTION_CONVENTIONS, RobosuiteTask, find_task, render_problem
from paradp.envs.pusht_env import make_board, make_picture
from paradp.envs.robosuite_task import own_state
from paradp.envs.task import images

HAND = "absolute"
sees = pytest.mark.skipif(render_problem() is not None, reason="no renderer here")
TASKS = ["pusht", *(pytest.param(name, marks=sees) for name in ("lift", "square"))]


def make(task: str, observation: str = "image", **options):
    return gymnasium.make(find_task(task).task.env_id, observation=observation, **options)


def walk(env, steps: int = 6, seed: int = 0):
    """Observations of an episode with actions that do not depend on them."""
    seen, _ = env.reset(seed=seed)
    convention, rng = env.unwrapped.convention, np.random.default_rng(seed)
    first = convention.hold(None, env.unwrapped.observe("state")) if env.unwrapped.task.name != "pusht" else None
    yield seen
    for _ in range(steps):
        if first is None:
            action = rng.uniform(0, 512, 2)
        else:
            arms = range(len(first) // 10)
            action = first + np.concatenate([np.r_[rng.uniform(-0.1, 0.1, 3), np.zeros(7)] for _ in arms])
        yield env.step(action.clip(convention.low, convention.high).astype(np.float32))[0]


def equal(a: dict, b: dict) -> bool:
    return a.keys() == b.keys() and all(np.array_equal(a[key], b[key]) for key in a)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("drawn", [True, False])
def test_environments_pass_gymnasiums_check(task, drawn):
    env = make(task, drawn=drawn)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", ".*symmetric and normalized.*")
        warnings.filterwarnings("ignore", ".*minimum value.*|.*maximum value.*")
        check_env(env.unwrapped, skip_render_check=True)
    env.close()


@pytest.mark.parametrize("task", TASKS)
def test_an_image_is_rendered_at_any_time_with_the_same_pixels(task):
    """Rendered with every step, only after it, or by an environment with states: the same pixels."""
    every, asked, states = make(task), make(task, drawn=False), make(task, "state")
    for whole, blind, state in zip(walk(every), walk(asked), walk(states), strict=True):
        assert blind.keys() == {key for key in whole if whole[key].ndim == 1}
        assert equal(whole, blind | asked.unwrapped.draw())
        assert equal(whole, states.unwrapped.observe("image"))
        assert equal(state, every.unwrapped.observe("state"))
    pictures = [seen[key] for seen in walk(every) for key in images(every.unwrapped.task.observed("image"))]
    assert len({picture.tobytes() for picture in pictures}) == len(pictures)  # and whoever holds one keeps it
    for env in (every, asked, states):
        env.close()


def test_pushts_picture_equals_gym_pushts(monkeypatch):
    """Except for the dots at contacts, which depend on the contact solver's history."""
    monkeypatch.setattr(DrawOptions, "draw_dot", lambda *_: None)
    monkeypatch.setattr(DrawOptions, "draw_segment", lambda *_: None)
    board, rng = make_board(), np.random.default_rng(0)
    board.reset(seed=0)
    picture = make_picture(board, 96)
    for seed in range(12):
        board.reset(seed=seed)
        for _ in range(15):
            towards = np.array(board.block.position) if seed % 2 else rng.uniform(0, 512, 2)
            board.advance((towards + rng.normal(0, 20, 2)).tolist())
            drawn = picture.draw(board.agent.position, board.corners.reshape(2, 4, 2))
            assert np.array_equal(drawn, board._render())
    assert drawn.shape == (96, 96, 3) and drawn.dtype == np.uint8


def test_pushts_picture_can_be_rendered_from_recorded_states():
    """So images can be rendered later for demonstrations without images."""
    env = make("pusht")
    env.reset(seed=0)
    picture = make_picture(env.unwrapped._board, 96)
    for seen in walk(env, 40):
        state = env.unwrapped.observe("state")
        later = picture.draw(state["agent_pos"], state["block_keypoints"].reshape(2, 4, 2))
        assert np.array_equal(later, seen["image"])


@sees
@pytest.mark.parametrize(("task", "robots"), [("lift", 1), ("two-arm-lift", 2)])
def test_the_robots_own_state_equals_robosuites(task, robots):
    env = make(task, drawn=False)
    for seen in walk(env):
        robosuite = env.unwrapped._robosuite
        for observable in robosuite._observables.values():
            observable.set_enabled(True)
        theirs = robosuite._get_observations(force_update=True)
        assert seen.keys() == own_state(robots).keys()
        assert all(np.abs(seen[key] - theirs[key]).max() < 1e-6 for key in seen)
    env.close()


@sees
def test_cameras_see_the_cube_and_it_moves():
    env = make("lift")
    env.reset(seed=0)
    red = []
    for seed in range(2):
        seen, _ = env.reset(seed=seed)
        for key in ("agentview_image", "robot0_eye_in_hand_image"):
            picture = seen[key].astype(int)
            assert picture.shape == (84, 84, 3)
            red.append(picture[..., 0] > picture[..., 1:].max(-1) + 60)
    assert all(20 < places.sum() < 400 for places in red)
    assert (red[0] != red[2]).any() and (red[1] != red[3]).any()
    # Upright: from the front the robot stands behind the cube, at the top of the picture.
    assert np.argwhere(red[0]).mean(0)[0] > 35
    env.close()


@sees
@pytest.mark.parametrize(("task", "convention"), [("lift", HAND), ("two-arm-lift", "two-arm-absolute")])
def test_a_robot_holds_still_with_its_observed_own_state(task, convention):
    env = make(task, drawn=False)
    seen, _ = env.reset(seed=0)
    hold = ACTION_CONVENTIONS[convention].hold
    assert np.abs(hold(None, seen) - hold(None, env.unwrapped.observe("state"))).max() < 1e-6
    env.close()


@pytest.mark.parametrize("task", ["pusht", "lift"])
def test_an_unknown_observation_is_named(task):
    with pytest.raises(ValueError, match=r"unknown observation 'pixels'\. There are: state, image"):
        make(task, "pixels")


def test_every_task_but_kitchen_offers_images():
    from paradp.envs import TASKS

    for entry in (entry for name, entry in TASKS.items() if name != "kitchen"):
        assert list(entry.task.observations) == ["state", "image"]
        assert entry.task.observed(None) == entry.task.observation == entry.task.observed("state")
        assert images(entry.task.observed("image")) and not images(entry.task.observation)
        if isinstance(entry.task, RobosuiteTask):
            assert images(entry.task.observed("image")) == tuple(entry.task.cameras)

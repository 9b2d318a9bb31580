"""Episodes of a policy with cameras: rendering only the frames that plans use gives the same episodes."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from seeing import CONVENTIONS, policy_of, spec_of, trained_of

from paradp.checkpoints import checkpoint_digest, save_checkpoint
from paradp.envs import find_task, render_problem
from paradp.policy import RecedingHorizon, UnetConfig
from paradp.policy.learning.training import spec_for
from paradp.rollouts import RolloutConfig, run_episodes
from paradp.rollouts.collect import DEFAULT_ACTION_NOISE, collect, describe
from paradp.rollouts.episodes.backends import Job, LocalProcesses, ThisProcess
from paradp.rollouts.episodes.environments import EnvironmentConfig, Environments, check_fits, make_envs, observed_by
from paradp.rollouts.expert_histories import expert_histories
from paradp.rollouts.machine import versions
from paradp.sampler import SamplerChoice

sees_lift = pytest.param("lift", marks=pytest.mark.skipif(render_problem() is not None, reason="no renderer here"))
slowly_lift = pytest.param("lift", marks=[*sees_lift.marks, pytest.mark.slow])
TASKS = ["pusht", sees_lift]


class Counted:
    """Counts the images that the environments of a loop render."""

    def __init__(self, envs: Environments, monkeypatch):
        self.frames = 0
        for env in envs.envs:
            monkeypatch.setattr(env.unwrapped, "draw", lambda draw=env.unwrapped.draw: self._count(draw))

    def _count(self, draw):
        self.frames += 1
        return draw()


def ran(task: str, monkeypatch, drawn: bool = False, threads: int = 1, count: int = 2, **controller):
    """Three episodes of twenty steps without times, and the number of rendered observations."""
    policy = policy_of(task)
    envs = make_envs(EnvironmentConfig(task, CONVENTIONS[task], None, 20, observation="image", drawn=drawn), count, threads)
    counted = Counted(envs, monkeypatch)
    controllers = [RecedingHorizon(policy, **controller) for _ in range(count)]
    episodes = list(run_episodes(envs, controllers, range(3)))
    envs.close()
    untimed = [
        (e.seed, e.reward, [replace(s, seconds=0, began=0, simulation=0, replan=None) for s in e.steps])
        for e in sorted(episodes, key=lambda e: e.seed)
    ]
    return untimed, counted.frames


@pytest.mark.parametrize("task", TASKS)
def test_episodes_equal_those_with_every_frame_rendered(task, monkeypatch):
    every, _ = ran(task, monkeypatch, drawn=True)
    lazy, frames = ran(task, monkeypatch)
    assert lazy == every
    assert len({step.action for _, _, steps in every for step in steps}) > 50
    # Of 20 steps plans are made in 0, 8 and 16, from two observations each but the first.
    assert frames == 3 * (1 + 2 + 2)


@pytest.mark.parametrize("task", TASKS)
def test_actions_of_a_policy_depend_on_its_images(task, monkeypatch):
    """Otherwise equal episodes would prove nothing."""
    every, _ = ran(task, monkeypatch, drawn=True)
    kind = type(make_envs(EnvironmentConfig(task, CONVENTIONS[task]), 1).envs[0].unwrapped)
    draw = kind.draw
    monkeypatch.setattr(kind, "draw", lambda env: {key: 255 - frame for key, frame in draw(env).items()})
    other, _ = ran(task, monkeypatch)
    assert other[0][2][0].action != every[0][2][0].action and other[0][2][8].action != every[0][2][8].action


@pytest.mark.parametrize("task", [sees_lift])
def test_environments_that_render_in_threads_give_the_same_images(task, monkeypatch):
    """Each renders in the thread that steps it, and another thread may render its video."""
    alone = ran(task, monkeypatch, count=1)[0]
    assert ran(task, monkeypatch, threads=2, count=3)[0] == ran(task, monkeypatch, threads=1, count=3)[0]
    assert [seed for seed, _, _ in alone] == [0, 1, 2]


@pytest.mark.parametrize("task", ["pusht", slowly_lift])
def test_a_run_makes_its_environment_from_the_checkpoint_also_in_workers(task, tmp_path):
    save_checkpoint(trained_of(task), tmp_path / "seeing", "card")
    here = RolloutConfig(
        task,
        SamplerChoice.parse("ddim-2"),
        tmp_path / "here",
        str(tmp_path / "seeing"),
        episodes=2,
        videos=1,
        engine="eager",
        threads=1,
        max_steps=10,
    )
    actions = []
    for config, backend in ((here, ThisProcess()), (replace(here, out=tmp_path / "there"), LocalProcesses(2))):
        digest, packages = checkpoint_digest(config.checkpoint_path), tuple(versions().items())
        jobs = [Job(config, range(seed, seed + 1), digest, packages) for seed in config.seeds]
        done = {job.seeds.start: episodes for job, episodes in backend.run(jobs)}
        actions.append([[step.action for step in episode.steps] for seed in config.seeds for episode in done[seed]])
        [film] = (config.out / "videos").glob("0-*.mp4")
        assert film.stat().st_size > 1000
    assert actions[0] == actions[1] and [len(steps) for steps in actions[0]] == [10, 10]


@pytest.mark.parametrize("task", ["pusht", slowly_lift])
def test_demonstrations_with_images_are_the_same_episodes(task, tmp_path):
    settings = {"episodes": 2, "action_convention": CONVENTIONS[task], "seed": 0}
    states = collect(task, out=tmp_path / "states.zarr", workers=1, **settings)
    seen = collect(task, out=tmp_path / "seen.zarr", workers=2, observation="image", **settings)
    assert np.array_equal(seen.seeds, states.seeds) and np.array_equal(seen.episode_ends, states.episode_ends)
    assert np.array_equal(seen.actions(), states.actions())
    known = {"pusht": ("agent_pos", "agent_pos"), "lift": ("robot0_eef_pos", "eef_pos")}[task]
    assert np.array_equal(seen.observations()[known[0]], states.observations()[known[1]])
    for key, shape in seen.info.observation.items():
        if not isinstance(shape, int):
            pictures = seen.observations()[key]
            assert pictures.shape == (seen.steps, *shape) and pictures.dtype == np.uint8
            assert len(np.unique(pictures.reshape(len(pictures), -1), axis=0)) > 0.8 * len(pictures)
    with pytest.raises(ValueError, match="holds other demonstrations"):
        collect(task, out=tmp_path / "seen.zarr", workers=1, **settings)


def test_an_experts_histories_have_the_policys_observation():
    histories = expert_histories(spec_of("pusht"), 3, seed=0)
    assert histories["image"].shape == (3, 2, 96, 96, 3) and histories["agent_pos"].shape == (3, 2, 2)
    assert len({picture.tobytes() for picture in histories["image"][:, 1]}) == 3


@pytest.mark.parametrize("execute", [1, 2, 5])
def test_plans_have_their_frames_for_every_number_of_executed_actions(execute, monkeypatch):
    every, _ = ran("pusht", monkeypatch, drawn=True, execute=execute)
    assert ran("pusht", monkeypatch, execute=execute)[0] == every


def test_plans_requested_ahead_or_late_have_their_frames(monkeypatch):
    class Late:
        def reset(self, seed): ...

        def lateness(self, seconds):
            return 3

    hold = {"clock": Late(), "hold": lambda last, seen: np.asarray(seen["agent_pos"] if last is None else last)}
    for ahead in (False, True):
        every, _ = ran("pusht", monkeypatch, drawn=True, ahead=ahead, **hold)
        lazy, frames = ran("pusht", monkeypatch, ahead=ahead, **hold)
        assert lazy == every and frames < 60


def test_an_observation_without_its_images_is_refused_if_a_plan_needs_them():
    policy = policy_of("pusht")
    controller = RecedingHorizon(policy)
    blind = {"agent_pos": np.full(2, 256.0, np.float32)}
    assert controller.looks
    with pytest.raises(ValueError, match="the observation lacks 'image'; it has: agent_pos"):
        controller.act(blind)
    seen = {**blind, "image": np.zeros((96, 96, 3), np.uint8)}
    controller.reset(0)
    controller.act(seen)
    for _ in range(6):
        assert not controller.looks
        controller.act(blind)
    assert controller.looks
    with pytest.raises(ValueError, match="the observation lacks 'image'"):
        controller.act(blind)


@pytest.mark.parametrize(
    ("observation", "message"),
    [
        ({"image": (64, 64, 3), "agent_pos": 2}, r"its 'image' has shape \(64, 64, 3\), the task's \(96, 96, 3\)"),
        ({"front": (96, 96, 3), "agent_pos": 2}, "its observation has the image 'front', and the task's images are: image"),
        ({"agent_pos": 3, "image": (96, 96, 3)}, "its observation is {'agent_pos': 3, 'image'"),
    ],
)
def test_a_checkpoint_with_other_images_is_refused(observation, message):
    with pytest.raises(ValueError, match=f"does not fit the task 'pusht': {message}"):
        check_fits(replace(spec_of("pusht"), observation=observation), "pusht")


def test_a_checkpoint_says_what_its_environment_observes():
    assert observed_by(spec_of("pusht"), find_task("pusht").task) == "image"
    state = spec_for(describe("pusht", "position", DEFAULT_ACTION_NOISE, 0), UnetConfig())
    assert observed_by(state, find_task("pusht").task) == "state"


def test_the_order_of_observed_features_does_not_matter():
    """LeRobot's network takes the state before the images, the task's observation has them the other way round."""
    spec = replace(spec_of("pusht"), observation={"agent_pos": 2, "image": (96, 96, 3)})
    assert observed_by(spec, find_task("pusht").task) == "image"
    check_fits(spec, "pusht")


def test_without_a_renderer_a_policy_with_cameras_is_refused(monkeypatch):
    monkeypatch.setattr("paradp.envs.robosuite_task.render_problem", lambda: "rendering needs EGL")
    with pytest.raises(OSError, match="cameras of the task 'lift' cannot be rendered"):
        collect("lift", 1, Path("nowhere.zarr"), observation="image")
    assert not Path("nowhere.zarr").exists()
    with pytest.raises(OSError, match="the cameras of the task 'lift' cannot be rendered: rendering needs EGL"):
        check_fits(spec_of("lift"), "lift")
    with pytest.raises(OSError, match="cameras of the task 'lift' cannot be rendered"):
        EnvironmentConfig("lift", observation="image").make()

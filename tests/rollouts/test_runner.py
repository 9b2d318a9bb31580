"""The control loop on the real simulator."""

import itertools
import time
from dataclasses import dataclass

import gymnasium
import numpy as np
import pytest

from paradp.envs import TASKS
from paradp.rollouts import run_episodes
from paradp.rollouts.episodes.environments import EnvironmentConfig, check_fits, make_envs
from paradp.rollouts.episodes.summary import throughput
from paradp.rollouts.episodes.video import VideoRecorder
from paradp.scripts.studies.overhead import measure_overhead


@dataclass
class Observer:
    steps: list
    episodes: list

    def on_step(self, seed, record, render):
        self.steps.append((seed, record.step))

    def on_episode(self, episode):
        self.episodes.append(episode)


def experts(count: int):
    return [TASKS["lift"].expert() for _ in range(count)]


@pytest.fixture(scope="module")
def run():
    """Five episodes of Lift in two places."""
    observer = Observer([], [])
    envs = make_envs(EnvironmentConfig("lift"), 2)
    episodes = list(run_episodes(envs, experts(2), range(40, 45), [observer]))
    envs.close()
    return episodes, observer


def test_every_seed_is_one_episode(run):
    episodes, observer = run
    assert sorted(e.seed for e in episodes) == list(range(40, 45))
    assert observer.episodes == episodes
    for episode in episodes:
        assert [r.step for r in episode.steps] == list(range(len(episode.steps)))
        assert [s for seed, s in observer.steps if seed == episode.seed] == [r.step for r in episode.steps]
        assert episode.reward == max(r.reward for r in episode.steps) == float(episode.success)
        assert episode.success == episode.steps[-1].success or len(episode.steps) == 400
        assert episode.seconds > 0


def test_an_episode_does_not_depend_on_its_neighbours(run):
    episodes, _ = run
    envs = make_envs(EnvironmentConfig("lift"), 1)
    [alone] = run_episodes(envs, experts(1), [43])
    envs.close()
    among = next(e for e in episodes if e.seed == 43)
    assert [(r.reward, r.success) for r in alone.steps] == [(r.reward, r.success) for r in among.steps]


def test_the_overhead_is_measured_with_two_arms_too():
    """Without a choice, actions are of the task's first convention."""
    overhead = measure_overhead("two-arm-lift", steps=2, repeats=1)
    assert overhead.bare > 0 and overhead.looped > 0


def test_an_environment_without_an_episode_is_not_stepped():
    envs = make_envs(EnvironmentConfig("lift"), 3)
    stepped = [0, 0, 0]
    for i, env in enumerate(envs.envs):
        inner = env.unwrapped

        def counting(action, i=i, step=inner.step):
            stepped[i] += 1
            return step(action)

        inner.step = counting
    [episode] = run_episodes(envs, experts(3), [40])
    envs.close()
    assert stepped == [len(episode.steps), 0, 0]


def test_films_have_a_frame_per_step_and_show_the_result(tmp_path):
    import imageio.v3 as iio

    envs = make_envs(EnvironmentConfig("lift", render=True), 1)
    recorder = VideoRecorder(tmp_path, {41}, fps=20)
    episodes = list(run_episodes(envs, experts(1), [40, 41], [recorder]))
    envs.close()
    [film] = tmp_path.glob("*.mp4")
    assert film.name == f"41-{'success' if episodes[1].success else 'failure'}.mp4"
    frames = iio.imread(film, plugin="pyav")
    assert len(frames) == len(episodes[1].steps)
    assert np.abs(frames[0].astype(int) - frames[-1]).max() > 50


def test_the_loop_steps_each_simulator_once_a_control_step(monkeypatch):
    """`paradp study loop-cost` measures the loop's time; this test checks that it does nothing twice."""
    envs = make_envs(EnvironmentConfig("lift"), 2)
    calls = [0, 0]
    for i, env in enumerate(envs.envs):

        def simulate(command, i=i, simulate=env.unwrapped.simulate):
            calls[i] += 1
            return simulate(command)

        monkeypatch.setattr(env.unwrapped, "simulate", simulate)
    episodes = list(run_episodes(envs, experts(2), [40, 41]))
    envs.close()
    assert calls == [len(episode.steps) for episode in sorted(episodes, key=lambda episode: episode.seed)]


def test_a_policy_for_another_task_is_refused(spec):
    with pytest.raises(ValueError, match="does not fit the task 'lift': its task is reach"):
        check_fits(spec, "lift")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"action_convention": "delta"}, "its action is"),
        (
            {"action_convention": "velocity"},
            r"actions are velocity \(goal_pos 3, .*10 values\), the task's: absolute \(.*delta \(step_pos 3",
        ),
        ({"action": {"gripper": 1, "goal_rot6d": 6, "goal_pos": 3}}, "its action is {'gripper': 1"),
        ({"control_hz": 10}, "its control_hz is 10, the task's is 20"),
        ({"controller": {"kp": 1.0}}, "its controller is"),
        ({"observation": {"eef_pos": 3}}, "its observation is"),
        ({"action_high": (1.0,) * 10}, "its action limits differ"),
    ],
)
def test_a_mismatch_is_named(change, message):
    from dataclasses import replace

    from paradp.policy import PolicySpec
    from paradp.rollouts.collect import DEFAULT_ACTION_NOISE, describe

    info = describe("lift", "absolute", DEFAULT_ACTION_NOISE, 0)
    names = ("task", "observation", "action", "action_low", "action_high", "action_convention", "control_hz", "controller")
    fitting = PolicySpec(**{name: getattr(info, name) for name in names})
    check_fits(fitting, "lift")
    with pytest.raises(ValueError, match=message):
        check_fits(replace(fitting, **change), "lift")


@pytest.mark.parametrize(("of", "on"), [("lift", "two-arm-lift"), ("two-arm-lift", "lift")])
def test_a_checkpoint_for_another_number_of_arms_is_refused_with_the_difference(of, on):
    from paradp.policy import PolicySpec
    from paradp.rollouts.collect import DEFAULT_ACTION_NOISE, describe

    info = describe(of, TASKS[of].task.conventions[0], DEFAULT_ACTION_NOISE, 0)
    names = ("task", "observation", "action", "action_low", "action_high", "action_convention", "control_hz", "controller")
    spec = PolicySpec(**{name: getattr(info, name) for name in names})
    check_fits(spec, of)
    one = r"absolute \(goal_pos 3, goal_rot6d 6, gripper 1: 10 values\)"
    two = r"two-arm-absolute \(robot0_goal_pos 3, .*, robot1_gripper 1: 20 values\)"
    had, takes = (one, two) if of == "lift" else (two, one)
    with pytest.raises(ValueError, match=f"its actions are {had}, the task's: {takes}"):
        check_fits(spec, on)


def test_the_controllers_time_excludes_the_simulators(run):
    """A step's `seconds` contain only the controller: an expert takes far less than the simulator."""
    episodes, _ = run
    env = gymnasium.make("paradp/Lift-v0")
    observation, _ = env.reset(seed=0)
    action = np.concatenate([observation["eef_pos"], observation["eef_rot6d"], [-1]]).astype(np.float32)
    started = time.perf_counter()
    for _ in range(20):
        env.step(action)
    simulation = (time.perf_counter() - started) / 20
    env.close()
    assert np.median([r.seconds for e in episodes for r in e.steps]) < simulation


def test_setting_the_system_clock_does_not_change_measured_times(monkeypatch):
    """The system clock goes back an hour with every reading."""
    hours, now = itertools.count(), time.time()
    monkeypatch.setattr(time, "time", lambda: now - 3600 * next(hours))
    envs = make_envs(EnvironmentConfig("lift", max_steps=5), 1)
    began = time.perf_counter()
    first, second = run_episodes(envs, experts(1), range(2))
    passed = time.perf_counter() - began
    envs.close()
    assert first.started + first.seconds <= second.started <= first.started + passed
    assert throughput([first, second]) == pytest.approx(10 / (first.seconds + second.seconds))

"""The environments of a loop, each with its index, in threads if their steps allow it."""

import threading
import time
from dataclasses import replace

import gymnasium
import numpy as np
import pytest

from paradp.envs.pusht_env import PushTEnv
from paradp.rollouts import run_episodes
from paradp.rollouts.episodes.environments import EnvironmentConfig, Environments, make_envs

ACTIONS = {0: np.zeros(1), 1: np.zeros(1)}


class Stepping(gymnasium.Env):
    """Notes the thread that steps it, and calls `during`."""

    observation_space = action_space = gymnasium.spaces.Box(0, 1, (1,), np.float32)
    thread: threading.Thread

    def __init__(self, during=lambda: None, releases_gil=True):
        self.during, self.releases_gil = during, releases_gil

    def step(self, action):
        self.thread = threading.current_thread()
        self.during()
        return {}, 0.0, False, False, {"success": False}


def test_steps_that_release_pythons_lock_run_in_parallel():
    both_are_at_it = threading.Barrier(2, timeout=20)
    envs = Environments([Stepping(both_are_at_it.wait) for _ in range(2)], threads=2)
    assert list(envs.step(ACTIONS)) == [0, 1]
    envs.close()


@pytest.mark.parametrize(("releasing", "threads"), [((True, False), 2), ((True, True), 1)])
def test_other_steps_run_sequentially(releasing, threads):
    envs = Environments([Stepping(releases_gil=value) for value in releasing], threads)
    envs.step(ACTIONS)
    assert {env.thread for env in envs.envs} == {threading.current_thread()}
    envs.close()


def test_after_an_error_no_environment_is_being_stepped():
    """Closing a simulator during a step would crash the process."""
    ended = threading.Event()

    def fail():
        raise ValueError("no step")

    def take_long():
        time.sleep(0.2)
        ended.set()

    envs = Environments([Stepping(fail), Stepping(take_long)], threads=2)
    with pytest.raises(ValueError, match="no step"):
        envs.step(ACTIONS)
    assert ended.is_set()
    envs.close()


class Wandering:
    """A controller that moves the disc at random."""

    def reset(self, seed=None):
        self._rng = np.random.default_rng(seed)

    def act(self, observation):
        self.action = self._rng.uniform(0, 512, 2)
        return self


def episodes(threads: int):
    """Seven episodes of PushT in three places, but for what was measured."""
    envs = make_envs(EnvironmentConfig("pusht", "position", max_steps=20), 3, threads)
    ran = list(run_episodes(envs, [Wandering() for _ in range(3)], range(7)))
    envs.close()
    return [
        replace(e, started=0, seconds=1, steps=[replace(s, seconds=0, began=0, simulation=0) for s in e.steps]) for e in ran
    ]


def test_an_episode_does_not_depend_on_threads(monkeypatch):
    serial = episodes(1)
    monkeypatch.setattr(PushTEnv, "releases_gil", True, raising=False)
    assert episodes(2) == serial
    assert len({tuple(s.action for s in e.steps) for e in serial}) == 7 and max(e.reward for e in serial) > 0

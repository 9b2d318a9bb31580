"""Environments of other packages: what breaks the contract is named before it is stored, and nothing else is affected."""

import dataclasses
import math
import time

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from spot_task import SpotEnv, SpotExpert, SpotTask

from paradp.envs import TASKS, ExpertCommand, TaskEntry, find_task, register
from paradp.policy import Command
from paradp.policy.features import observed_features
from paradp.rollouts import run_episodes
from paradp.rollouts.collect import demonstrate
from paradp.rollouts.episodes.environments import EnvironmentConfig, Environments, make_envs

SPOT = SpotTask()
FEATURES = observed_features(SPOT.observation)


class Broken(SpotEnv):
    """From the second control step on, `change` replaces what `step` returns."""

    def __init__(self, change=lambda *outcome: outcome):
        super().__init__(SPOT, "position")
        self._change, self._made = change, 0

    def step(self, action):
        self._made += 1
        outcome = super().step(action)
        return self._change(*outcome) if self._made > 1 else outcome


class Buffer(SpotEnv):
    """Returns its own memory."""

    def __init__(self):
        super().__init__(SPOT, "position")
        self._seen = np.zeros(1, np.uint8)

    def reset(self, *, seed=None, options=None):
        self._seen = super().reset(seed=seed)[0]["camera"]
        return {"camera": self._seen}, {"success": False}

    def step(self, action):
        seen, *others = super().step(action)
        self._seen[:] = seen["camera"]
        return {"camera": self._seen}, *others


class Slowly(SpotExpert):
    def act(self, observation):
        return ExpertCommand(np.full(2, 500, np.float32), np.full(2, 500, np.float32))


def seen(make):
    return lambda observation, *others: (make(observation["camera"]), *others)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (seen(lambda image: {"camera": image / 255}), "'camera' is an image and must be of dtype uint8, not float64"),
        (seen(lambda image: {"camera": image[..., 0]}), r"'camera' has shape \(6, 6\), the task declares \(6, 6, 1\)"),
        (seen(lambda image: {"picture": image}), "lacks 'camera'; it has: picture"),
    ],
)
def test_a_demonstration_with_another_observation_is_refused(change, said):
    with pytest.raises(ValueError, match=rf"control step 2 of the demonstration with seed 7: .*{said}"):
        demonstrate(Broken(change), Slowly(), FEATURES, 7, 7)


def test_numbers_that_are_not_finite_are_not_stored():
    env = gymnasium.Env()
    env.reset = lambda seed: ({"at": np.zeros(2, np.float32)}, {})
    env.step = lambda action: ({"at": np.array([0, np.nan])}, 0.0, False, False, {"success": False})
    env.action_space = spaces.Box(0, 1, (2,))
    with pytest.raises(ValueError, match=r"control step 1 of .* 'at' is not finite"):
        demonstrate(env, Slowly(), observed_features({"at": 2}), 0, 0)


@pytest.mark.parametrize(
    ("action", "said"),
    [(np.array([np.inf, 0]), "the expert's label is not finite"), (np.zeros(3), r"has shape \(3,\), .* actions \(2,\)")],
)
def test_an_experts_wrong_action_is_named(action, said):
    class Mistaken(SpotExpert):
        def act(self, observation):
            return ExpertCommand(np.zeros(2, np.float32), action)

    with pytest.raises(ValueError, match=f"control step 0 of the demonstration with seed 0: .*{said}"):
        demonstrate(Broken(), Mistaken(), FEATURES, 0, 0)


def test_an_environment_that_returns_its_own_memory_is_copied():
    own, copied = (demonstrate(env, SpotExpert(), FEATURES, 3, 3).episode for env in (Buffer(), Broken()))
    assert (own.observations["camera"] == copied.observations["camera"]).all() and len(own.actions) > 1


class Still:
    def reset(self, seed=None): ...

    def act(self, observation):
        return Command(np.full(2, 500, np.float32))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda o, r, end, cut, info: (o, math.nan, end, cut, info), "reward nan in control step 1 .* with seed 4"),
        (lambda o, r, end, cut, info: (o, r, end, cut, {}), "info has no 'success'"),
    ],
)
def test_an_episode_that_cannot_be_stored_is_named_at_once(change, said):
    with pytest.raises(ValueError, match=said):
        list(run_episodes(Environments([Broken(change)]), [Still()], [4]))
    if "success" in said:
        with pytest.raises(ValueError, match=said):
            demonstrate(Broken(lambda o, r, end, cut, info: (o, r, True, cut, {})), Slowly(), FEATURES, 0, 0)


def test_the_time_of_a_film_is_not_an_episodes():
    class Filming:
        def on_step(self, seed, record, render): ...

        def on_episode(self, episode):
            time.sleep(0.5)

    def together(observation, reward, end, cut, info):
        return observation, reward, True, cut, info

    ran = list(run_episodes(Environments([Broken(together) for _ in range(3)]), [Still()] * 3, range(6), [Filming()]))
    assert len(ran) == 6 and max(episode.seconds for episode in ran) < 0.5


def entry(**changes) -> TaskEntry:
    return TaskEntry(dataclasses.replace(SPOT, **changes), SpotExpert)


@pytest.fixture
def tasks(monkeypatch):
    """The tasks, which a test may change."""
    monkeypatch.setattr("paradp.envs.registry.TASKS", dict(TASKS))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("lift", "two tasks have the name 'lift'"),
        ("Lift", "the tasks 'lift' and 'Lift' have the same id for gymnasium, paradp/Lift-v0"),
        ("pick place", "letters, digits, - and _ only, and 'pick place' has others"),
    ],
)
def test_a_task_replaces_no_other_one(tasks, name, said):
    before = gymnasium.spec("paradp/Lift-v0")
    with pytest.raises(ValueError, match=said):
        register(entry(name=name))
    assert gymnasium.spec("paradp/Lift-v0") == before


@pytest.mark.parametrize(
    ("point", "said"),
    [
        ("spot_task:SpotEnvironment", "has no attribute"),
        ("no_such_module:Env", "No module"),
        ("spot_task:picture", "argument"),
    ],
)
def test_an_environment_that_cannot_be_made_is_named(tasks, monkeypatch, point, said):
    name = f"spot-{point.replace(':', '-')}"
    register(entry(name=name, entry_point=point))
    monkeypatch.setitem(TASKS, name, entry(name=name, entry_point=point))
    with pytest.raises(ValueError, match=f"the environment {point} of the task '{name}' cannot be made with task=.*{said}"):
        make_envs(EnvironmentConfig(name), 1)
    problem = find_task(name).task.film_problem
    assert problem is None if said == "argument" else "cannot be imported" in problem

"""The random streams of an episode: those of the environments, and all others."""

import gymnasium
import numpy as np
import pytest

from paradp.envs import TASKS
from paradp.policy.control.asynchronous import AsyncController
from paradp.rollouts.episodes.clocks import ClockChoice
from paradp.rollouts.episodes.environments import EnvironmentConfig
from paradp.sampler.streams import stream


def draws(generator: np.random.Generator) -> list[int]:
    return generator.bit_generator.random_raw(64).tolist()


def goes_on(generator: np.random.Generator, drawn: list[int]) -> bool:
    """Whether these numbers come from the generator, after those used by a scene or a disturbance."""
    expected = generator.bit_generator.random_raw(10_000).tolist()
    at = expected.index(drawn[0])
    return expected[at : at + len(drawn)] == drawn


def scene_generator(env: gymnasium.Env) -> np.random.Generator:
    inner = env.unwrapped
    return inner._robosuite.rng if hasattr(inner, "_robosuite") else inner._board.np_random


@pytest.mark.parametrize("task", ["lift", "pusht"])
def test_a_scene_uses_the_environment_stream_of_the_seed(task):
    env = EnvironmentConfig(task, TASKS[task].task.conventions[0]).make()
    env.reset(seed=7)
    drawn = draws(scene_generator(env))
    env.close()
    assert goes_on(stream(7, "environment"), drawn)


def test_experts_and_disturbances_use_their_own_streams():
    expert = TASKS["lift"].expert()
    expert.reset(7)
    assert draws(expert.rng) == draws(stream(7, "expert"))
    env = EnvironmentConfig("lift", disturbance="push").make()
    env.reset(seed=7)
    drawn = draws(env.unwrapped._disturbance_rng)
    env.close()
    assert goes_on(stream(7, "disturbance"), drawn)


def test_the_noise_of_plans_and_the_clock_use_other_streams_than_the_scene(spec):
    class Never:
        alive = True

        def __init__(self):
            self.spec = spec

    controller = AsyncController(Never(), lambda last, observation: last)
    for seed in range(50):
        scene = set(np.random.default_rng(seed).bit_generator.random_raw(1000).tolist())
        controller.reset(seed)
        assert draws(controller._noise) == draws(stream(seed, "noise"))
        assert not scene & set(draws(stream(seed, "noise"))) and not scene & set(draws(stream(seed, "clock")))


def test_a_replay_begins_at_an_index_from_the_clocks_stream():
    clock = ClockChoice("replay", "ms.txt", tuple(i / 20 for i in range(97))).start(20)
    for seed in range(20):
        clock.reset(seed)
        assert clock.lateness(0.0) == stream(seed, "clock").integers(97) != np.random.default_rng(seed).integers(97)

"""The scripted experts solve their tasks, vary like people, and are controllers."""

import gymnasium
import numpy as np
import pytest

from paradp.envs import TASKS, ActionNoise
from paradp.envs.experts.waypoints import HAND_DOWN, Scene
from paradp.envs.tasks.lift import LiftExpert

SEEDS = range(500, 504)


def drive(task: str, convention: str, seed: int, action_noise: ActionNoise | None = None) -> tuple[bool, list]:
    entry = TASKS[task]
    env = gymnasium.make(entry.task.env_id, action_convention=convention)
    expert = entry.expert(convention, action_noise)
    observation, info = env.reset(seed=seed)
    expert.reset(seed)
    commands, done = [], False
    while not done:
        commands.append(expert.act(observation))
        assert env.action_space.contains(commands[-1].label)
        observation, _, terminated, truncated, info = env.step(commands[-1].action)
        done = terminated or truncated
    env.close()
    return info["success"], commands


@pytest.mark.parametrize(
    ("task", "convention"),
    [
        (task, name)
        for task in ("square", "lift", "can", "stack", "door", "tool-hang", "two-arm-lift")
        for name in TASKS[task].task.conventions
    ],
)
def test_the_expert_succeeds(task, convention):
    assert sum(drive(task, convention, seed)[0] for seed in SEEDS) >= 3


@pytest.mark.parametrize("task", ["lift", "two-arm-lift"])
def test_the_same_seed_repeats_the_demonstration_and_another_differs(task):
    entry = TASKS[task]
    env = gymnasium.make(entry.task.env_id)
    observation, _ = env.reset(seed=0)

    def actions(seed):
        expert = entry.expert()
        expert.reset(seed)
        return np.stack([expert.act(observation).action for _ in range(5)])

    assert np.array_equal(actions(1), actions(1))
    assert not np.array_equal(actions(1), actions(2))
    env.close()


def test_action_noise_moves_the_robot_but_not_the_label():
    entry = TASKS["lift"]
    env = gymnasium.make(entry.task.env_id)
    observation, _ = env.reset(seed=0)
    calm, shaken = entry.expert(), entry.expert(action_noise=ActionNoise(noise=0.3))
    for expert in (calm, shaken):
        expert.reset(0)
    quiet, noisy = calm.act(observation), shaken.act(observation)
    assert np.array_equal(quiet.action, quiet.label)
    assert np.array_equal(noisy.label, quiet.label)
    assert np.abs(noisy.action - noisy.label)[:9].max() > 1e-3
    assert noisy.action[9] == noisy.label[9]  # the gripper is not shaken
    env.close()


def test_an_expert_recovers_from_pushes():
    assert sum(drive("lift", "absolute", s, ActionNoise(noise=0.1, push_chance=0.1))[0] for s in SEEDS) >= 3


def test_an_expert_that_sees_a_single_scene_is_told_what_to_return():
    class Older(LiftExpert):
        def see(self, observation):
            return Scene(np.zeros(3), HAND_DOWN, 0.08, {})

    with pytest.raises(TypeError, match=r"Older\.see returned one scene: it must return a list with the scene of each hand"):
        Older().act({})


def test_two_arms_recover_from_pushes_too():
    noise = ActionNoise(noise=0.1, push_chance=0.01)
    assert sum(drive("two-arm-lift", "two-arm-absolute", seed, noise)[0] for seed in SEEDS) >= 3


def test_two_arms_take_the_handles_together_or_either_first():
    """The grippers' commands show which: they are the 10th and the 20th value."""
    orders = set()
    for seed in range(500, 508):
        success, commands = drive("two-arm-lift", "two-arm-absolute", seed)
        assert success
        first, second = (int(np.argmax([command.label[grip] > 0 for command in commands])) for grip in (9, 19))
        orders.add("together" if abs(first - second) < 15 else "first" if first < second else "second")
    assert orders == {"together", "first", "second"}


def test_a_door_is_opened_in_several_ways():
    """The handle is turned down from the front or from above, or lifted: what is commanded shows which."""
    ways = set()
    for seed in range(500, 508):
        success, commands = drive("door", "absolute", seed)
        assert success
        lowest = min(command.label[2] for command in commands[-20:])  # of the hand, while it turns and pulls (m)
        towards_door = commands[-40].label[7]  # of the hand's axis
        ways.add((lowest > 1.08, bool(abs(towards_door) > 0.6)))
    assert len(ways) >= 2

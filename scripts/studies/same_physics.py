"""Compares the compiled control step with robosuite's own, from the same states and in free runs."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np

from paradp.checkpoints import load_policy
from paradp.checkpoints.finding import pretrained
from paradp.envs import TaskEntry, all_tasks
from paradp.envs.actions import HandConvention
from paradp.envs.arms import ROBOT_CONVENTIONS
from paradp.envs.simulators import COMPILED, ORIGINAL
from paradp.policy import RecedingHorizon
from paradp.rollouts.collect import DEFAULT_ACTION_NOISE

FIRST_SEED, EPISODES, RANDOM_STEPS = 300_000, 10, 100
# Largest difference that counts as equal, and size of a perturbation; of positions and velocities (m, rad, and per second).
EQUAL, SHAKE = 1e-10, 1e-15
# A difference is explained by robosuite's own sensitivity if robosuite, perturbed, differs by SHARE of it within WITHIN
# control steps, for one of SHAKES random directions.
SHARE, WITHIN, SHAKES = 0.01, 5, 16


@dataclass(frozen=True)
class Equality:
    """The differences of the compiled step for one task, action convention and controller.

    Attributes:
        steps: number of control steps, each started from robosuite's own state.
        worst: largest difference after a step.
        departed: number of steps with a difference above `EQUAL`.
        unexplained: number of these that robosuite's own sensitivity does not explain.
        episodes: number of free runs.
        equal: free runs that stayed within `EQUAL` to their end.
        explained: free runs that did not, but only where a perturbed robosuite did not, either.
        same_end: free runs with the same success and length.
        same_end_shaken: the same number for the first run of a perturbed robosuite.
    """

    steps: int
    worst: float
    departed: int
    unexplained: int
    episodes: int
    equal: int
    explained: int
    same_end: int
    same_end_shaken: int


def compare(task: str, convention: str, controller: str) -> Equality:
    """Compares both control steps for a task, an action convention and a controller (see `controllers`)."""
    entry = all_tasks()[task]
    actor = make_controller(entry, convention, controller)
    length = RANDOM_STEPS if controller == "random" else entry.task.max_steps
    with environments(entry, convention, (ORIGINAL, COMPILED, ORIGINAL)) as envs:
        steps = np.concatenate([_from_the_same_states(envs, actor, seed, length) for seed in _seeds()])
        runs = [_free_runs(envs, actor, seed, length) for seed in _seeds()]
    ours, shaken = steps.T
    over = ours > EQUAL
    equal = sum(bool((_apart(mine, theirs) <= EQUAL).all()) for theirs, mine, _ in runs)
    explained = sum(any(_is_explained(theirs, mine, one) for one in moved) for theirs, mine, moved in runs)
    return Equality(
        steps=len(steps),
        worst=float(ours.max()),
        departed=int(over.sum()),
        unexplained=int((over & (ours > shaken / SHARE)).sum()),
        episodes=len(runs),
        equal=equal,
        explained=explained - equal,
        same_end=sum(mine.end == theirs.end for theirs, mine, _ in runs),
        same_end_shaken=sum(moved[0].end == theirs.end for theirs, _, moved in runs),
    )


def controllers(entry: TaskEntry, convention: str) -> Iterator[str]:
    """The names of the controllers for a task and an action convention."""
    yield "random"
    if entry.expert is not None:
        yield "expert"
        if convention == entry.task.conventions[0] and entry.task.name in pretrained():
            yield "policy"


def make_controller(entry: TaskEntry, convention: str, name: str) -> Any:
    """Creates a controller; call `reset(seed)`, then `act(observation).action`."""
    if name == "expert":
        return entry.demonstrator(convention, DEFAULT_ACTION_NOISE)
    return RecedingHorizon(load_policy(entry.task.name, "ddim-10")) if name == "policy" else RandomGoals(convention)


@dataclass(frozen=True)
class _Command:
    action: np.ndarray


class RandomGoals:
    """Moves each hand to random goals in the workspace, with random rotations and grippers that open and close at random."""

    def __init__(self, convention: str):
        self._hands = [_RandomGoals(hand) for hand in ROBOT_CONVENTIONS[convention].hands]

    def reset(self, seed: int) -> None:
        rng = np.random.default_rng([seed, 5])
        for hand in self._hands:
            hand.reset(rng)

    def act(self, observation: dict[str, np.ndarray]) -> _Command:
        return _Command(np.concatenate([hand.act(observation) for hand in self._hands]))


class _RandomGoals:
    """Random goals of one hand, see `RandomGoals`."""

    def __init__(self, convention: HandConvention):
        self._own, self._delta = convention.prefix, convention.name == "delta"

    def reset(self, rng: np.random.Generator) -> None:
        self._rng = rng
        self._step = 0

    def act(self, observation: dict[str, np.ndarray]) -> np.ndarray:
        if self._step == 0:
            self._place, self._rotation = observation[f"{self._own}eef_pos"], observation[f"{self._own}eef_rot6d"]
        if self._step % 10 == 0:
            self._goal = self._rng.uniform([-0.3, -0.3, 0.8], [0.3, 0.3, 1.2])
            self._grip = self._rng.choice([-1, 1])
        self._step += 1
        if self._delta:
            return np.append(self._rng.uniform(-1, 1, 6), self._grip).astype(np.float32)
        self._place = self._place + np.clip(self._goal - self._place, -0.04, 0.04)
        turned = (self._rotation + 0.2 * self._rng.normal(size=6)).clip(-1, 1)
        return np.concatenate([self._place, turned, [self._grip]]).astype(np.float32)


@contextmanager
def environments(entry: TaskEntry, convention: str, simulators: Sequence[str]) -> Iterator[list[Any]]:
    """The task's environment, once with each simulator.

    Raises:
        ValueError: the task does not support a simulator on this machine.
    """
    envs: list[Any] = []
    try:
        for simulator in simulators:
            made = gymnasium.make(entry.task.env_id, action_convention=convention, simulator=simulator)
            envs.append(made.unwrapped)
            if envs[-1].simulator != simulator:
                raise ValueError(f"the task {entry.task.name!r} cannot be simulated by {simulator} here")
        yield envs
    finally:
        for env in envs:
            env.close()


@dataclass(frozen=True)
class Moment:
    """The complete state of a simulation: MuJoCo's data and the action of each gripper."""

    data: Any
    grips: list[np.ndarray]

    @classmethod
    def of(cls, env: Any) -> "Moment":
        return cls(copy(env._sim.data._data), [gripper.current_action.copy() for gripper in _grippers(env)])

    def put(self, env: Any) -> None:
        """Sets an environment of the same task to this state."""
        import mujoco  # after paradp has chosen its OpenGL

        mujoco.mj_copyData(env._sim.data._data, env._sim.model._model, self.data)
        for gripper, grip in zip(_grippers(env), self.grips, strict=True):
            gripper.current_action[:] = grip


def state(env: Any) -> np.ndarray:
    """Positions and velocities of all joints, `[nq + nv]` (rad and m, and per second)."""
    return np.concatenate([env._sim.data.qpos, env._sim.data.qvel])


def _seeds() -> range:
    return range(FIRST_SEED, FIRST_SEED + EPISODES)


def _from_the_same_states(envs: Sequence[Any], actor: Any, seed: int, length: int) -> np.ndarray:
    """For each step, the difference of the compiled step and of a perturbed robosuite step to robosuite's: `[steps, 2]`."""
    original, ours, shaken = envs
    rng, found = np.random.default_rng(seed), []
    observation, *_ = [env.reset(seed=seed)[0] for env in envs]
    actor.reset(seed)
    for step in range(length):
        action, before = actor.act(observation).action, Moment.of(original)
        observation, _, ended, *_ = original.step(action)
        if step:
            before.put(ours)
        else:  # robosuite's first step after a reset uses values that it read in the reset
            shaken.step(action)
        ours.step(action)
        difference, own = np.abs(state(ours) - state(original)).max(), 0.0
        for _ in range(SHAKES if step else 0):
            if difference <= max(EQUAL, own / SHARE):
                break
            before.put(shaken)
            _shake(shaken, rng)
            shaken.step(action)
            own = max(own, np.abs(state(shaken) - state(original)).max())
        found.append((difference, own))
        if ended:
            break
    return np.array(found)


@dataclass(frozen=True)
class _FreeRun:
    states: np.ndarray
    success: bool

    @property
    def end(self) -> tuple[bool, int]:
        return self.success, len(self.states)


def _free_runs(envs: Sequence[Any], actor: Any, seed: int, length: int) -> tuple[_FreeRun, _FreeRun, list[_FreeRun]]:
    """Runs by robosuite, by the compiled step, and by a perturbed robosuite until one explains the difference."""
    original, ours, shaken = envs
    rng = np.random.default_rng(seed)
    theirs, mine = (_free_run(env, actor, seed, length) for env in (original, ours))
    moved = [_free_run(shaken, actor, seed, length, rng)]
    while not _is_explained(theirs, mine, moved[-1]) and len(moved) < SHAKES:
        moved.append(_free_run(shaken, actor, seed, length, rng))
    return theirs, mine, moved


def _free_run(env: Any, actor: Any, seed: int, length: int, shaken_by: np.random.Generator | None = None) -> _FreeRun:
    success = False
    states: list[np.ndarray] = []
    observation, _ = env.reset(seed=seed)
    actor.reset(seed)
    while len(states) < length and not success:
        if shaken_by is not None:
            _shake(env, shaken_by)
        observation, _, success, *_ = env.step(actor.act(observation).action)
        states.append(state(env))
    return _FreeRun(np.array(states), success)


def _apart(one: _FreeRun, other: _FreeRun) -> np.ndarray:
    """The difference after each control step, while both run."""
    together = min(len(one.states), len(other.states))
    return np.abs(one.states[:together] - other.states[:together]).max(1)


def _is_explained(theirs: _FreeRun, mine: _FreeRun, shaken: _FreeRun) -> bool:
    """Whether the perturbed run reaches `SHARE` of the compiled run's difference within `WITHIN` steps, always."""
    farthest = np.maximum.accumulate(_apart(shaken, theirs))
    reached = farthest[np.minimum(np.arange(len(mine.states)) + WITHIN, len(farthest) - 1)]
    ours = _apart(mine, theirs)
    return bool(((ours <= EQUAL) | (reached[: len(ours)] >= SHARE * ours)).all())


def _grippers(env: Any) -> list[Any]:
    return [robot.gripper["right"] for robot in env._robosuite.robots]


def _shake(env: Any, rng: np.random.Generator) -> None:
    env._sim.data.qpos[:] += SHAKE * rng.choice([-1, 1], env._sim.model.nq)

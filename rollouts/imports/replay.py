"""Observations rebuilt: the simulator is put into every recorded state, and says what our policies would have seen."""

import re
from dataclasses import dataclass, replace

import gymnasium
import numpy as np

from paradp.envs import find_task
from paradp.envs.actions import HAND_CONVENTIONS, MAX_STEP_M, MAX_STEP_RAD, Goal
from paradp.envs.robosuite_env import RobosuiteEnv
from paradp.envs.rotations import rotation_6d_to_matrix, rotvec_to_matrix
from paradp.rollouts.imports.conventions import Convention
from paradp.rollouts.imports.recordings import Recording


@dataclass(frozen=True)
class Replayed:
    """One recording, seen again.

    Attributes:
        observations: key → `[T, n]`, as the task's environment gives them.
        success: `[T]`, the task's own rule in every state.
    """

    observations: dict[str, np.ndarray]
    success: np.ndarray


class Replay:
    """Sees recorded states as a task of ours.

    Args:
        task: the task's name.

    Raises:
        ValueError: it is unknown.
    """

    def __init__(self, task: str):
        self._env: RobosuiteEnv = gymnasium.make(find_task(task).task.env_id).unwrapped  # type: ignore[assignment]
        self._env.reset(seed=0)

    def run(self, recording: Recording) -> Replayed:
        """Raises:
        ValueError: there are no states, or they are not of this task's scene.
        """
        if recording.states is None:
            raise ValueError(f"{recording.name} has no simulator states, so that observations cannot be rebuilt")
        try:
            observations, success = zip(*map(self._env.see, recording.states), strict=True)
        except ValueError as error:
            raise ValueError(f"{recording.name} is of another scene: {error}") from error
        return Replayed({key: np.stack([o[key] for o in observations]) for key in observations[0]}, np.array(success))

    def close(self) -> None:
        """Gives the simulator back."""
        self._env.close()


def converted(
    actions: np.ndarray, recorded: Convention, wanted: str, replayed: Replayed, keeps_turn: bool = False
) -> np.ndarray:
    """Recorded actions `[T, 7]` in a convention of ours, `[T, A]`.

    A delta is a step from the pose in which it was given; an absolute action is the goal itself, position and rotation
    vector in the world.

    Args:
        actions, recorded: what was recorded, and its convention.
        wanted: name of the convention to return.
        replayed: of the same steps.
        keeps_turn: see `keeps_turn`.
    """
    if recorded == wanted == "delta":
        return as_recorded(actions, recorded)
    positions = replayed.observations["eef_pos"].astype(np.float64)
    rotations = rotation_6d_to_matrix(replayed.observations["eef_rot6d"].astype(np.float64))
    convention = HAND_CONVENTIONS[wanted]
    goals: list[Goal] = []
    for action, position, rotation in zip(actions, positions, rotations, strict=True):
        goal = _GOALS[recorded](action, position, rotation)
        if keeps_turn and goals and recorded == "delta" and np.allclose(action[3:6], 0.0, atol=1e-9):
            goal = replace(goal, rotation=goals[-1].rotation)
        goals.append(goal)
    poses = zip(goals, positions, rotations, strict=True)
    return np.stack([convention.from_goal(goal, *pose) for goal, *pose in poses])


def keeps_turn(version: str) -> bool:
    """Whether that robosuite's controller keeps its goal's rotation where a delta turns by nothing at all: until 1.4."""
    numbers = re.match(r"(\d+)\.(\d+)", version)
    return numbers is not None and (int(numbers[1]), int(numbers[2])) < (1, 5)


def as_recorded(actions: np.ndarray, recorded: Convention) -> np.ndarray:
    """Recorded actions `[T, 7]` in our convention of the same name."""
    if recorded == "delta":
        return actions.astype(np.float32)
    nowhere = np.zeros(3), np.eye(3)  # an absolute goal is none of a pose's
    return np.stack([HAND_CONVENTIONS["absolute"].from_goal(_from_absolute(a, *nowhere), *nowhere) for a in actions])


def _from_delta(action: np.ndarray, position: np.ndarray, rotation: np.ndarray) -> Goal:
    turn = rotvec_to_matrix(MAX_STEP_RAD * action[3:6])
    return Goal(position + MAX_STEP_M * action[:3], turn @ rotation, float(action[6]))


def _from_absolute(action: np.ndarray, position: np.ndarray, rotation: np.ndarray) -> Goal:
    return Goal(action[:3], rotvec_to_matrix(action[3:6]), float(action[6]))


_GOALS = {"delta": _from_delta, "absolute": _from_absolute}

"""Rebuilds observations: sets the simulator to each recorded state and reads the observation of our task there."""

from dataclasses import dataclass

import gymnasium
import numpy as np

from paradp.envs import find_task
from paradp.envs.actions import HAND_CONVENTIONS, MAX_STEP_M, MAX_STEP_RAD, Goal
from paradp.envs.robosuite_env import RobosuiteEnv
from paradp.envs.rotations import rotation_6d_to_matrix, rotvec_to_matrix
from paradp.rollouts.imports.conventions import Convention
from paradp.rollouts.imports.recordings import Recording
from paradp.rollouts.imports.settings import RecordingSettings

WORLD = np.zeros(3), np.eye(3)
# robomimic's name of the hand's position.
HAND = "robot0_eef_pos"
# Tolerance of the hand's position. Simulator versions differ by less; another robot or table differs by more.
ELSEWHERE_M = 0.02
# No goal of a controller is this far from the hand. A goal in the wrong frame is: base and world are further apart.
UNREACHABLE_M = 0.3


@dataclass(frozen=True)
class ReplayedRecording:
    """The rebuilt observations of one recording.

    Attributes:
        observations: key → `[T, n]`, as the task's environment gives them.
        success: `[T]`, whether the task's success rule holds in each state.
    """

    observations: dict[str, np.ndarray]
    success: np.ndarray

    @property
    def poses(self) -> tuple[np.ndarray, np.ndarray]:
        """Positions `[T, 3]` and rotations `[T, 3, 3]` of the hand."""
        rotations = rotation_6d_to_matrix(self.observations["eef_rot6d"].astype(np.float64))
        return self.observations["eef_pos"].astype(np.float64), rotations


class Replay:
    """Rebuilds the observations of one task from recorded simulator states.

    Args:
        task: the task's name.

    Raises:
        ValueError: there is no task of this name.
    """

    def __init__(self, task: str):
        self._env: RobosuiteEnv = gymnasium.make(find_task(task).task.env_id).unwrapped  # type: ignore[assignment]
        self._env.reset(seed=0)

    def run(self, recording: Recording) -> ReplayedRecording:
        """Rebuilds the observations of a recording.

        Raises:
            ValueError: the recording has no states, or they are from another scene.
        """
        if recording.states is None:
            raise ValueError(
                f"{recording.name} has no simulator states, so that observations cannot be rebuilt; --observations recorded"
                " takes the file's own"
            )
        try:
            observations, success = zip(*map(self._env.see, recording.states), strict=True)
        except ValueError as error:
            raise ValueError(f"{recording.name} is of another scene: {error}") from error
        replayed = ReplayedRecording(
            {key: np.stack([o[key] for o in observations]) for key in observations[0]}, np.array(success)
        )
        _check_hand(recording, replayed)
        return replayed

    def goals(
        self, recording: Recording, convention: Convention, settings: RecordingSettings, replayed: ReplayedRecording
    ) -> list[Goal]:
        """The goal poses of recorded actions `[T, 7]`.

        A delta action is added to the hand's pose at that step. An absolute action is the goal itself: position and rotation
        vector, in the world frame or in the frame of the robot's base.

        Raises:
            ValueError: a goal is too far from the hand, so the frame must be wrong.
        """
        if convention == "delta":
            return _steps(recording.actions, replayed, settings.keeps_turn)
        origin = self._env.arm_origin if settings.frame == "base" else WORLD
        goals = [_absolute(action, *origin) for action in recording.actions]
        _check_goals(recording, settings, goals, replayed)
        return goals

    def close(self) -> None:
        """Closes the simulator."""
        self._env.close()


def as_actions(goals: list[Goal], wanted: str, replayed: ReplayedRecording) -> tuple[np.ndarray, int]:
    """Converts goals to actions `[T, A]` of one of our conventions; also returns how many were too far and were clipped."""
    convention, poses = HAND_CONVENTIONS[wanted], list(zip(*replayed.poses, strict=True))
    actions = np.stack([convention.from_goal(goal, *pose) for goal, pose in zip(goals, poses, strict=True)])
    cut = sum(goal.is_far(*pose) for goal, pose in zip(goals, poses, strict=True)) if wanted == "delta" else 0
    return actions, cut


def as_recorded(actions: np.ndarray, recorded: Convention) -> np.ndarray:
    """Converts recorded actions `[T, 7]` to our convention of the same name."""
    if recorded == "delta":
        return actions.astype(np.float32)
    return np.stack([HAND_CONVENTIONS["absolute"].from_goal(_absolute(action, *WORLD), *WORLD) for action in actions])


def _steps(actions: np.ndarray, replayed: ReplayedRecording, keeps_turn: bool) -> list[Goal]:
    goals: list[Goal] = []
    for action, position, rotation in zip(actions, *replayed.poses, strict=True):
        turned = rotvec_to_matrix(MAX_STEP_RAD * action[3:6]) @ rotation
        if keeps_turn and goals and np.allclose(action[3:6], 0.0, atol=1e-9):
            turned = goals[-1].rotation
        goals.append(Goal(position + MAX_STEP_M * action[:3], turned, float(action[6])))
    return goals


def _absolute(action: np.ndarray, position: np.ndarray, rotation: np.ndarray) -> Goal:
    """The goal of an absolute action, given in the frame at this position and rotation."""
    return Goal(position + rotation @ action[:3], rotation @ rotvec_to_matrix(action[3:6]), float(action[6]))


def _check_hand(recording: Recording, replayed: ReplayedRecording) -> None:
    """Checks the rebuilt hand positions against those in the file, if it has any."""
    recorded = recording.observations.get(HAND)
    if recorded is None or recorded.shape[1] != 3:
        return
    miss = np.linalg.norm(recorded - replayed.observations["eef_pos"], axis=1)
    if miss.max() > ELSEWHERE_M:
        step = int(miss.argmax())
        raise ValueError(
            f"{recording.name} is of another robot or scene: in step {step} its obs/{HAND} is {100 * miss[step]:.0f} cm from"
            " where the hand is in the recorded state"
        )


def _check_goals(recording: Recording, settings: RecordingSettings, goals: list[Goal], replayed: ReplayedRecording) -> None:
    far = np.linalg.norm(np.stack([goal.position for goal in goals]) - replayed.poses[0], axis=1)
    if far.max() > UNREACHABLE_M:
        step = int(far.argmax())
        raise ValueError(
            f"{recording.name}'s absolute goals cannot be in the frame of the {settings.frame}: that of step {step} is"
            f" {100 * far[step]:.0f} cm from the hand"
        )

"""Base class of scripted experts: a generator for each hand, which yields goals and receives observations, with variety."""

from abc import abstractmethod
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from paradp.envs.actions import CLOSE, MAX_STEP_M, MAX_STEP_RAD, OPEN, Goal
from paradp.envs.conventions import find_robot_convention
from paradp.envs.experts.expert import ActionNoise, Expert, ExpertCommand
from paradp.envs.lookup import renamed_argument
from paradp.envs.rotations import matrix_to_rotvec, rotation_6d_to_matrix, rotvec_to_matrix

# The hand pointing straight down in the Panda's rest pose: fingers open along world y.
HAND_DOWN = np.array([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, -1.0]])
# Largest rotation of the hand from HAND_DOWN about the vertical that joint 7 allows, with a margin (rad).
HAND_YAW_RANGE = (-1.95, 2.6)


@dataclass(frozen=True)
class Thing:
    """An object's position in the world frame (m), and its rotation."""

    position: np.ndarray
    rotation: np.ndarray

    @property
    def yaw(self) -> float:
        """Rotation about the vertical axis (rad)."""
        return float(np.arctan2(self.rotation[1, 0], self.rotation[0, 0]))


@dataclass(frozen=True)
class Scene:
    """An observation from the side of one hand; poses are in the world frame (m).

    Attributes:
        eef_pos: position of the hand.
        eef_rotation: its rotation.
        opening: distance of its fingers (m, 0.08 is wide open).
        objects: name → observed object.
        hand: the hand's prefix in observations; empty for a robot's only hand.
        others: the scenes of the other hands.
    """

    eef_pos: np.ndarray
    eef_rotation: np.ndarray
    opening: float
    objects: Mapping[str, Thing]
    hand: str = ""
    others: tuple["Scene", ...] = ()

    @classmethod
    def from_observation(cls, observation: Mapping[str, np.ndarray], objects: Sequence[str], hand: str = "") -> "Scene":
        """Reads a scene from an observation, without the other hands."""
        fingers = observation[f"{hand}gripper_qpos"].astype(np.float64)
        return cls(
            hand=hand,
            eef_pos=observation[f"{hand}eef_pos"].astype(np.float64),
            eef_rotation=rotation_6d_to_matrix(observation[f"{hand}eef_rot6d"].astype(np.float64)),
            opening=float(np.abs(fingers).sum()),
            objects={
                name: Thing(
                    observation[f"{name}_pos"].astype(np.float64),
                    rotation_6d_to_matrix(observation[f"{name}_rot6d"].astype(np.float64)),
                )
                for name in objects
            },
        )


Pose = tuple[np.ndarray, np.ndarray]
Script = Generator[Goal, Scene, Scene]


class PoseOf(Protocol):
    """Computes the hand's goal from the current scene, so that the goal follows the object."""

    def __call__(self, scene: Scene) -> Pose: ...


@dataclass(frozen=True)
class Variety:
    """The random variation between demonstrations.

    Attributes:
        via_m: spread of the detour on the way to a grasp and to the goal (m).
        speed: range of a segment's speed, as a fraction of full speed.
        grasp_m: spread of the grasp point on the object (m).
        whim_rad: spread of the random preference between grasps that need about the same rotation (rad).
        pause_chance: probability of a pause before a segment, for 1 to `pause_steps` control steps.
        pause_steps: longest hesitation.
        tremor: standard deviation of the hand's slow tremor, in normalised action units.
    """

    via_m: float = 0.03
    speed: tuple[float, float] = (0.7, 1.0)
    grasp_m: float = 0.006
    whim_rad: float = 0.1
    pause_chance: float = 0.15
    pause_steps: int = 3
    tremor: float = 0.02


class WaypointExpert(Expert):
    """Executes `script` with each hand. Subclasses define the script, how scenes are read, and the robot's commands.

    Args:
        action_noise: noise added to the executed action; none by default.
        variety: how demonstrations differ; `None` for the plain shortest motion.
        hands: number of hands.
    """

    def __init__(self, action_noise: ActionNoise | None, variety: Variety | None, hands: int = 1):
        self._variety = variety or Variety(0.0, (1.0, 1.0), 0.0, 0.0, 0.0, 0, 0.0)
        self._hands = hands
        super().__init__(6 * hands, self._variety.tremor, action_noise)

    def reset(self, seed: int | None = None) -> None:
        super().reset(seed)
        self._running: list[Script | None] = [None] * self._hands
        self._goals = [Goal(np.zeros(3), HAND_DOWN, OPEN)] * self._hands

    def act(self, observation: Mapping[str, np.ndarray]) -> ExpertCommand:
        """The next action for one environment; when the script of a hand has ended, its last goal is held.

        Raises:
            TypeError: `see` returns a single scene.
        """
        scenes = self.see(observation)
        if isinstance(scenes, Scene):
            raise TypeError(
                f"{type(self).__name__}.see returned one scene: it must return a list with the scene of each hand, and"
                " command(goals, scenes) takes lists of as many goals and scenes"
            )
        for hand, scene in enumerate(scenes):
            self._advance(hand, scene)
        near = [goal.limited(scene.eef_pos, scene.eef_rotation) for goal, scene in zip(self._goals, scenes, strict=True)]
        intended = _shifted(near, self.draw_tremor())
        executed = _shifted(intended, self.draw_action_noise())
        return ExpertCommand(self.command(executed, scenes), self.command(intended, scenes))

    @abstractmethod
    def see(self, observation: Mapping[str, np.ndarray]) -> Sequence[Scene]:
        """Reads the scene of each hand from an observation."""

    @abstractmethod
    def command(self, goals: Sequence[Goal], scenes: Sequence[Scene]) -> np.ndarray:
        """The action that moves each hand from where it is towards its goal."""

    @abstractmethod
    def script(self, scene: Scene) -> Script:
        """Yields the goal of a hand in every control step; each yield returns the scene after that step."""

    def move(
        self,
        scene: Scene,
        pose_of: PoseOf,
        gripper: float,
        tolerance_m: float = 0.01,
        tolerance_rad: float = 0.1,
        speed: float = 1.0,
        timeout: int = 60,
        lost: Callable[[Scene], bool] = lambda scene: False,
    ) -> Script:
        """Moves to the pose of `pose_of`, at a random speed, perhaps after a pause; ends early if `lost`."""
        speed *= self.rng.uniform(*self._variety.speed)
        if self.rng.random() < self._variety.pause_chance:
            scene = yield from self.hold(scene, gripper, int(self.rng.integers(1, self._variety.pause_steps + 1)))
        for _ in range(timeout):
            position, rotation = pose_of(scene)
            offset, turn = position - scene.eef_pos, matrix_to_rotvec(rotation @ scene.eef_rotation.T)
            arrived = np.linalg.norm(offset) < tolerance_m and np.linalg.norm(turn) < tolerance_rad
            if arrived or lost(scene):
                break
            scene = yield Goal(
                scene.eef_pos + _at_most(offset, speed * MAX_STEP_M),
                rotvec_to_matrix(_at_most(turn, speed * MAX_STEP_RAD)) @ scene.eef_rotation,
                gripper,
            )
        return scene

    def grasp(
        self,
        scene: Scene,
        at: Callable[[Scene, float], Pose],
        heights: tuple[float, float, float],
        near_m: float,
        there_m: float,
        close_steps: int,
        timeout: int = 25,
    ) -> Script:
        """Approaches an object from above by a detour, and closes the gripper.

        Args:
            scene: the current scene.
            at: the hand's pose at a height (m) above the grasp pose; it follows the object.
            heights: heights of passing above the object, of alignment, and of the grasp (m).
            near_m: tolerance of the alignment (m), and 0.1 rad for each cm.
            there_m: tolerance of the grasp position (m).
            close_steps: control steps for closing the gripper.
            timeout: control steps for the last descent.
        """
        above, near, there = heights
        detour = self.spread(self._variety.via_m)
        above += abs(self.spread(self._variety.via_m, 1)[0])

        def past(scene: Scene) -> Pose:
            position, rotation = at(scene, above)
            return position + detour, rotation

        scene = yield from self.move(scene, past, OPEN, tolerance_m=0.03, tolerance_rad=0.5)
        scene = yield from self.move(scene, lambda now: at(now, near), OPEN, near_m, 10 * near_m)
        scene = yield from self.move(scene, lambda now: at(now, there), OPEN, there_m, timeout=timeout)
        return (yield from self.hold(scene, CLOSE, close_steps))

    def hold(self, scene: Scene, gripper: float, steps: int) -> Script:
        """Stays in place for some control steps, opening or closing the gripper."""
        position, rotation = scene.eef_pos, scene.eef_rotation
        for _ in range(steps):
            scene = yield Goal(position, rotation, gripper)
        return scene

    def spread(self, scale: float, size: int = 3) -> np.ndarray:
        """A random offset with this standard deviation, limited to twice that."""
        return scale * np.clip(self.rng.standard_normal(size), -2, 2)

    def _advance(self, hand: int, scene: Scene) -> None:
        try:
            running = self._running[hand]
            if running is None:
                self._running[hand] = running = self.script(scene)
                self._goals[hand] = next(running)
            else:
                self._goals[hand] = running.send(scene)
        except StopIteration:
            pass


@renamed_argument("disturbance", "action_noise")
class ScriptedExpert(WaypointExpert):
    """Base class of experts for robosuite's arms; subclasses define each hand's script and the observed objects' names.

    Args:
        action_convention: one of the task's, `convention` by default; it determines the number of hands.
        action_noise: noise added to the executed action; none by default.
        variety: how demonstrations differ; `None` for the plain shortest motion.

    Raises:
        ValueError: there is no such convention of robosuite's arms.
    """

    objects: tuple[str, ...]
    convention = "absolute"

    def __init__(
        self,
        action_convention: str | None = None,
        action_noise: ActionNoise | None = None,
        variety: Variety | None = Variety(),
    ):
        self._each = find_robot_convention(action_convention or self.convention).hands
        super().__init__(action_noise, variety, len(self._each))

    def see(self, observation: Mapping[str, np.ndarray]) -> Sequence[Scene]:
        scenes = [Scene.from_observation(observation, self.objects, hand.prefix) for hand in self._each]
        return [replace(one, others=tuple(other for other in scenes if other is not one)) for one in scenes]

    def command(self, goals: Sequence[Goal], scenes: Sequence[Scene]) -> np.ndarray:
        each = zip(self._each, goals, scenes, strict=True)
        return np.concatenate([hand.from_goal(goal, scene.eef_pos, scene.eef_rotation) for hand, goal, scene in each])


def _at_most(vector: np.ndarray, length: float) -> np.ndarray:
    return vector * min(1.0, length / max(float(np.linalg.norm(vector)), 1e-9))


def _shifted(goals: Sequence[Goal], offsets: np.ndarray) -> list[Goal]:
    """The goals, each moved by its offset `[6]` in normalised action units: position, then rotation vector."""
    return [
        Goal(
            goal.position + MAX_STEP_M * offset[:3],
            rotvec_to_matrix(MAX_STEP_RAD * offset[3:]) @ goal.rotation,
            goal.gripper,
        )
        for goal, offset in zip(goals, offsets.reshape(len(goals), 6), strict=True)
    ]

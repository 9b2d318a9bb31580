"""The description of a robosuite task."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from paradp.envs.actions import CONTROLLER_DAMPING_RATIO, CONTROLLER_KP, HAND_CONVENTIONS
from paradp.envs.arms import TWO_ARM_CONVENTIONS
from paradp.envs.conventions import ACTION_CONVENTIONS, find_robot_convention
from paradp.envs.disturbances import DISTURBANCES, Area
from paradp.envs.rendering import render_problem
from paradp.envs.success import MakesCheck, by_robosuite
from paradp.envs.task import IMAGE, STATE, Features, Task


def own_state(robots: int = 1) -> dict[str, int]:
    """The robots' own state under robosuite's names: grip site (m), hand (quaternion x, y, z, w), fingers (m)."""
    sizes = {"eef_pos": 3, "eef_quat": 4, "gripper_qpos": 2}
    return {f"robot{robot}_{name}": size for robot in range(robots) for name, size in sizes.items()}


def cameras(robots: int = 1) -> dict[str, str]:
    """Image → camera, one of the scene and one in each hand, with the names of robomimic's data."""
    names = ["agentview", *(f"robot{robot}_eye_in_hand" for robot in range(robots))]
    return {f"{name}_image": name for name in names}


@dataclass(frozen=True, kw_only=True)
class RobosuiteTask(Task):
    """A task of one or more of robosuite's Pandas; of two, see `TwoArmTask`.

    The observation `image` has camera images and the robots' own state, but no objects.

    Attributes:
        robosuite_name: robosuite's class.
        hands: the prefixes of the hands' names in observations and actions, in robosuite's order of the robots.
        objects: name in the observation → name of the MuJoCo body; the first is the one that a disturbance moves.
        camera: the camera for videos.
        cameras: images of the observation `image`: name → camera.
        image_size: height and width of these images in pixels.
        area: limits of the object's position under disturbances (m, world); without it, or with several
            hands, there are no disturbances.
        replayable: whether a simulator state contains the whole scene.
        success: fast check of robosuite's success rule, see `paradp.envs.success`; by default robosuite's own.
        recorded_as: other robosuite classes whose recordings contain this task's scene.

    Raises:
        ValueError: an action convention is not for the task's hands. Those of other packages are only checked when an
            environment is made, because they may not be importable before.
    """

    draws_when_asked = True

    robosuite_name: str
    objects: dict[str, str]
    camera: str = "agentview"
    hands: tuple[str, ...] = ("",)
    cameras: dict[str, str] = field(default_factory=cameras)
    image_size: int = 84
    area: Area | None = None
    replayable: bool = True
    success: MakesCheck = by_robosuite
    recorded_as: tuple[str, ...] = ()
    max_steps: int = 400
    control_hz: int = 20
    conventions: tuple[str, ...] = tuple(HAND_CONVENTIONS)
    controller: dict[str, float] = field(
        default_factory=lambda: {"kp": CONTROLLER_KP, "damping_ratio": CONTROLLER_DAMPING_RATIO}
    )
    entry_point: str = "paradp.envs.robosuite_env:RobosuiteEnv"
    simulator: str = "robosuite"
    packages: tuple[str, ...] = ("robosuite", "mujoco")

    def __post_init__(self) -> None:
        for name in self.conventions:
            if name in ACTION_CONVENTIONS:
                find_robot_convention(name, self.hands)

    @property
    def observation(self) -> dict[str, int]:
        sizes: dict[str, int] = {}
        for hand in self.hands:
            sizes |= {f"{hand}eef_pos": 3, f"{hand}eef_rot6d": 6, f"{hand}gripper_qpos": 2}
        for name in self.objects:
            sizes |= {f"{name}_pos": 3, f"{name}_rot6d": 6}
            for hand in self.hands:
                sizes |= {f"{name}_in_{hand}eef_pos": 3, f"{name}_in_{hand}eef_rot6d": 6}
        return sizes

    @property
    def observations(self) -> Mapping[str, Features]:
        images = dict.fromkeys(self.cameras, (self.image_size, self.image_size, 3))
        return {STATE: self.observation, IMAGE: {**images, **own_state(len(self.hands))}}

    @property
    def things(self) -> tuple[str, ...]:
        return ("hand" if len(self.hands) == 1 else f"{len(self.hands)} hands", *self.objects)

    @property
    def render_problem(self) -> str | None:
        return render_problem()

    @property
    def disturbances(self) -> tuple[str, ...]:
        # They follow one hand.
        return tuple(DISTURBANCES) if self.area is not None and len(self.hands) == 1 else ()


@dataclass(frozen=True, kw_only=True)
class TwoArmTask(RobosuiteTask):
    """A task of two of robosuite's Pandas, which robosuite puts opposite each other."""

    hands: tuple[str, ...] = ("robot0_", "robot1_")
    cameras: dict[str, str] = field(default_factory=lambda: cameras(2))
    conventions: tuple[str, ...] = tuple(TWO_ARM_CONVENTIONS)

"""The description of a robosuite task."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from paradp.envs.actions import CONTROLLER_DAMPING_RATIO, CONTROLLER_KP, HAND_CONVENTIONS
from paradp.envs.disturbances import DISTURBANCES, Area
from paradp.envs.rendering import render_problem
from paradp.envs.success import MakesCheck, by_robosuite
from paradp.envs.task import IMAGE, STATE, Features, Task

# The robot's own state under robosuite's names: grip site (m), hand (quaternion x, y, z, w), fingers (m).
ROBOT: Features = {"robot0_eef_pos": 3, "robot0_eef_quat": 4, "robot0_gripper_qpos": 2}
# Image → camera, with the names and the size of robomimic's data.
CAMERAS = {"agentview_image": "agentview", "robot0_eye_in_hand_image": "robot0_eye_in_hand"}


@dataclass(frozen=True, kw_only=True)
class RobosuiteTask(Task):
    """A task of robosuite's Panda. The observation `image` has camera images and the robot's own state, but no objects.

    Attributes:
        robosuite_name: robosuite's class.
        objects: name in the observation → name of the MuJoCo body; the first is the one that a disturbance moves.
        camera: the camera for videos.
        cameras: images of the observation `image`: name → camera.
        image_size: height and width of these images in pixels.
        area: limits of the object's position under disturbances (m, world); without it there are no disturbances.
        replayable: whether a simulator state contains the whole scene.
        success: fast check of robosuite's success rule, see `paradp.envs.success`; by default robosuite's own.
        recorded_as: other robosuite classes whose recordings contain this task's scene.
    """

    draws_when_asked = True

    robosuite_name: str
    objects: dict[str, str]
    camera: str = "agentview"
    cameras: dict[str, str] = field(default_factory=lambda: dict(CAMERAS))
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

    @property
    def observation(self) -> dict[str, int]:
        sizes = {"eef_pos": 3, "eef_rot6d": 6, "gripper_qpos": 2}
        for name in self.objects:
            sizes |= {f"{name}_pos": 3, f"{name}_rot6d": 6, f"{name}_in_eef_pos": 3, f"{name}_in_eef_rot6d": 6}
        return sizes

    @property
    def observations(self) -> Mapping[str, Features]:
        images = dict.fromkeys(self.cameras, (self.image_size, self.image_size, 3))
        return {STATE: self.observation, IMAGE: {**images, **ROBOT}}

    @property
    def things(self) -> tuple[str, ...]:
        return ("hand", *self.objects)

    @property
    def render_problem(self) -> str | None:
        return render_problem()

    @property
    def disturbances(self) -> tuple[str, ...]:
        return tuple(DISTURBANCES) if self.area is not None else ()

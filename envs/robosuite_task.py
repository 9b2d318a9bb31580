"""The description of a robosuite task."""

from dataclasses import dataclass, field

from paradp.envs.actions import CONTROLLER_DAMPING_RATIO, CONTROLLER_KP, HAND_CONVENTIONS
from paradp.envs.disturbances import DISTURBANCES, Area
from paradp.envs.rendering import render_problem
from paradp.envs.success import MakesCheck, by_robosuite
from paradp.envs.task import Task


@dataclass(frozen=True, kw_only=True)
class RobosuiteTask(Task):
    """A task of a Panda's in robosuite.

    Attributes:
        robosuite_name: robosuite's class.
        objects: name in the observation → name of the MuJoCo body; the first is the one that a disturbance moves.
        camera: the camera that shows the task best.
        area: limits of the object's position under disturbances (m, world); without it there are no disturbances.
        replayable: whether a simulator state contains the whole scene.
        success: fast check of robosuite's success rule, see `paradp.envs.success`; by default robosuite's own.
        recorded_as: other robosuite classes whose recordings contain this task's scene.
    """

    robosuite_name: str
    objects: dict[str, str]
    camera: str = "agentview"
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
    def things(self) -> tuple[str, ...]:
        return ("hand", *self.objects)

    @property
    def render_problem(self) -> str | None:
        return render_problem()

    @property
    def disturbances(self) -> tuple[str, ...]:
        return tuple(DISTURBANCES) if self.area is not None else ()

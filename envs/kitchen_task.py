"""The description of the Kitchen task."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from paradp.envs.actions import JointVelocityAction
from paradp.envs.rendering import render_problem
from paradp.envs.task import Features, Task

# The subtasks of D4RL's `kitchen-complete`, as gymnasium-robotics names them.
SUBTASKS = ("microwave", "kettle", "light switch", "slide cabinet")
# Key of an observation → indices in the simulator's positions. The burners and the hinged cabinet are not observed.
ENTRIES: Mapping[str, range] = {
    "joints": range(0, 7),
    "fingers": range(7, 9),
    "light_switch": range(17, 19),
    "slide_cabinet": range(19, 20),
    "microwave": range(22, 23),
    "kettle_pos": range(23, 26),
    "kettle_quat": range(26, 30),
}


@dataclass(frozen=True, kw_only=True)
class KitchenTask(Task):
    """Franka Kitchen (Gupta et al. 2019; gymnasium-robotics' FrankaKitchen-v1) with low-dimensional observations.

    `control_hz` is rounded to 12, as in gymnasium-robotics.
    """

    name: str = "kitchen"
    success_rule: str = "microwave, kettle, light switch and slide cabinet have each come within 0.3 (rad, m) of their goals"
    max_steps: int = 280
    control_hz: int = 12
    conventions: tuple[str, ...] = (JointVelocityAction.name,)
    controller: dict[str, float] = field(default_factory=lambda: {"kp": 870.0, "kp_wrist": 120.0})
    entry_point: str = "paradp.envs.kitchen_env:KitchenEnv"
    simulator: str = "gymnasium-robotics"
    packages: tuple[str, ...] = ("gymnasium-robotics", "mujoco")

    @property
    def observation(self) -> Features:
        return {key: len(entries) for key, entries in ENTRIES.items()}

    @property
    def simulated_hz(self) -> float:
        return 12.5

    @property
    def things(self) -> tuple[str, ...]:
        return ("arm", *SUBTASKS)

    @property
    def render_problem(self) -> str | None:
        return render_problem()

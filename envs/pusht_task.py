"""The description of the PushT task."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from paradp.envs.actions import PlaneAction
from paradp.envs.task import IMAGE, STATE, Features, Task


@dataclass(frozen=True, kw_only=True)
class PushTTask(Task):
    """PushT (Florence et al. 2021, as in Chi et al. 2023), observed as low-dimensional state or as a picture.

    Attributes:
        keypoints: whether the T is observed by its eight corners (px), as in gym-pusht (Diffusion Policy's low-dimensional
            PushT has nine points on the T, in another order); otherwise by its position (px) and the cosine and sine of its
            angle.
        image_size: height and width of the picture, as in Diffusion Policy.
    """

    draws_when_asked = True

    keypoints: bool
    image_size: int = 96
    success_rule: str = "the T covers more than 95 % of its goal"
    max_steps: int = 300
    control_hz: int = 10
    conventions: tuple[str, ...] = (PlaneAction.name,)
    controller: dict[str, float] = field(default_factory=lambda: {"kp": 100.0, "kv": 20.0})
    entry_point: str = "paradp.envs.pusht_env:PushTEnv"
    simulator: str = "gym-pusht"
    packages: tuple[str, ...] = ("gym-pusht", "pymunk", "shapely")

    @property
    def observation(self) -> dict[str, int]:
        if self.keypoints:
            return {"agent_pos": 2, "block_keypoints": 16}
        return {"agent_pos": 2, "block_pos": 2, "block_angle": 2}

    @property
    def observations(self) -> Mapping[str, Features]:
        return {
            STATE: self.observation,
            IMAGE: {"image": (self.image_size, self.image_size, 3), "agent_pos": 2},
        }

    @property
    def things(self) -> tuple[str, ...]:
        return ("pusher", "corners of the T" if self.keypoints else "pose of the T")

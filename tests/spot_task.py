"""A task with a camera: a bright spot is the pusher, which must move to the centre of the image.

An example of a user's package: a gymnasium environment, a task and an expert, in one file.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import gymnasium
import numpy as np
from gymnasium import spaces

from paradp.envs import ACTION_CONVENTIONS, Expert, ExpertCommand, Task, TaskEntry

EDGE, PIXELS = 512, 6
MIDDLE = np.full(2, EDGE / 2)


def picture(position: np.ndarray) -> np.ndarray:
    """`[6, 6, 1]`, bright where the pusher is."""
    image = np.zeros((PIXELS, PIXELS, 1), np.uint8)
    row, column = (position / EDGE * (PIXELS - 1)).round().astype(int)[::-1]
    image[row, column] = 255
    return image


class SpotEnv(gymnasium.Env):
    def __init__(self, task: "SpotTask", action_convention: str, disturbance=None, render_mode=None):
        self.action_space = ACTION_CONVENTIONS[action_convention].space
        self.observation_space = spaces.Dict({"camera": spaces.Box(0, 255, (PIXELS, PIXELS, 1), np.uint8)})
        self.render_mode = render_mode

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self._position = self.np_random.uniform(0, EDGE, 2)
        return {"camera": picture(self._position)}, {"success": False}

    def step(self, action):
        self._position = np.clip(self._position + 0.5 * (action - self._position), 0, EDGE)
        near = bool(np.abs(self._position - MIDDLE).max() < EDGE / PIXELS)
        return {"camera": picture(self._position)}, float(near), near, False, {"success": near}


@dataclass(frozen=True, kw_only=True)
class SpotTask(Task):
    name: str = "spot"
    success_rule: str = "the spot is in the middle of the picture"
    max_steps: int = 30
    control_hz: int = 10
    conventions: tuple[str, ...] = ("position",)
    controller: dict[str, float] = field(default_factory=lambda: {"kp": 1.0})
    entry_point: str = "spot_task:SpotEnv"
    simulator: str = "numpy"
    packages: tuple[str, ...] = ("gymnasium",)

    @property
    def observation(self) -> dict[str, tuple[int, int, int]]:
        return {"camera": (PIXELS, PIXELS, 1)}

    @property
    def things(self) -> tuple[str, ...]:
        return ("picture",)


class SpotExpert(Expert):
    """Moves to the centre from anywhere."""

    def __init__(self, action_convention: str = "position", action_noise=None):
        super().__init__(2, 0.0, action_noise)

    def act(self, observation: Mapping[str, np.ndarray]) -> ExpertCommand:
        label = MIDDLE.astype(np.float32)
        return ExpertCommand(np.clip(label + 10 * self.draw_action_noise(), 0, EDGE).astype(np.float32), label)


SPOT = TaskEntry(SpotTask(), SpotExpert)

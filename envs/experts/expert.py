"""Base class of scripted experts: controllers (`reset(seed)`, `act(observation)`) that only use the observation."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from paradp.envs.lookup import renamed_argument


@dataclass(frozen=True)
class ActionNoise:
    """Noise that is added to the executed action, but not to the label.

    As in DART (Laskey et al., CoRL 2017), demonstrations then contain states off the expert's path, and recoveries.

    Attributes:
        noise: standard deviation of independent noise, in normalised action units (1.0 = 0.05 m, 0.5 rad).
        push_chance: probability per control step that a push begins.
        push: standard deviation of a push, constant for `push_steps` control steps.
        push_steps: duration of a push in control steps.
    """

    noise: float = 0.0
    push_chance: float = 0.0
    push: float = 0.5
    push_steps: int = 4


@dataclass(frozen=True)
class ExpertCommand:
    """The action to execute, and the action without noise that a policy should learn."""

    action: np.ndarray
    label: np.ndarray


@renamed_argument("disturbance", "action_noise")
class Expert(ABC):
    """Base class of experts, with reproducible noise.

    Args:
        size: dimensions of the noise.
        tremor: standard deviation of the slow tremor, which is part of the label.
        action_noise: noise added to the executed action only; none by default.

    Attributes:
        rng: random generator of all its choices.
    """

    def __init__(self, size: int, tremor: float, action_noise: ActionNoise | None):
        self._size = size
        self._tremor_scale = tremor
        self._action_noise = action_noise or ActionNoise()
        self.reset(0)

    def reset(self, seed: int | None = None) -> None:
        """Begins an episode. The same seed gives the same choices and the same noise."""
        # A separate random stream: with the environment's stream, the choices would depend on the scene.
        self.rng = np.random.default_rng(None if seed is None else [seed, 1])
        self._tremor = np.zeros(self._size)
        self._push = np.zeros(self._size)
        self._push_left = 0

    @abstractmethod
    def act(self, observation: Mapping[str, np.ndarray]) -> ExpertCommand:
        """The next action for one environment."""

    def draw_tremor(self) -> np.ndarray:
        """The tremor of this control step; call it once per step."""
        self._tremor = 0.8 * self._tremor + 0.6 * self._tremor_scale * self.rng.standard_normal(self._size)
        return self._tremor

    def draw_action_noise(self) -> np.ndarray:
        """The action noise of this control step, in normalised action units; call it once per step."""
        if self._push_left == 0 and self.rng.random() < self._action_noise.push_chance:
            self._push = self._action_noise.push * self.rng.standard_normal(self._size)
            self._push_left = self._action_noise.push_steps
        push = self._push if self._push_left else np.zeros(self._size)
        self._push_left = max(self._push_left - 1, 0)
        return push + self._action_noise.noise * self.rng.standard_normal(self._size)


class MakesExpert(Protocol):
    """The class of an expert; all classes have the same constructor."""

    @property
    def __name__(self) -> str: ...

    def __call__(self, action_convention: str = ..., action_noise: ActionNoise | None = ...) -> Expert: ...

"""Data types of demonstrations: one episode, and the description that all episodes of a set share."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from paradp.policy.features import Shape
from paradp.policy.quantities import check_quantities


@dataclass(frozen=True)
class DemonstrationInfo:
    """Describes a set of demonstrations: task, shapes, units and how it was recorded.

    Attributes:
        task: the task's name.
        action_convention: how the environment interprets an action.
        observation: key → length of a vector, or height, width and channels of an image, in the order of the
            policy's input.
        action: name → length of each part of an action, in order.
        action_low, action_high: limits of each action dimension.
        control_hz: control steps per second.
        controller: gains of the low-level controller.
        made_with: how the demonstrations were made: expert, action noise, package versions.

    Raises:
        ValueError: as `paradp.policy.quantities.check_quantities`.
    """

    task: str
    action_convention: str
    observation: dict[str, Shape]
    action: dict[str, int]
    action_low: tuple[float, ...]
    action_high: tuple[float, ...]
    control_hz: int
    controller: dict[str, float]
    made_with: dict[str, Any]

    def __post_init__(self) -> None:
        check_quantities(self.observation, self.action, self.action_low, self.action_high, self.control_hz)


@dataclass(frozen=True)
class DemonstrationEpisode:
    """One demonstrated episode.

    Attributes:
        observations: key → `[steps, *shape]`.
        actions: `[steps, A]`, the actions to learn.
        executed: `[steps, A]`, the actions with injected noise that the robot executed.
        seed: of the environment.
    """

    observations: Mapping[str, np.ndarray]
    actions: np.ndarray
    executed: np.ndarray
    seed: int

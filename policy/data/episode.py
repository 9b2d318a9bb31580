"""What demonstrations are: one episode, and what all of a set have in common."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from paradp.policy.features import Shape
from paradp.policy.quantities import check_quantities


@dataclass(frozen=True)
class DemonstrationInfo:
    """What a set of demonstrations was made with.

    Attributes:
        task: the task's name.
        action_convention: `"absolute"` or `"delta"`.
        observation: key → length of a vector, or height, width and channels of an image, in the order that a policy sees
            them.
        action: quantity → length of the actions, in order.
        action_low, action_high: limits of every dimension of an action.
        control_hz: control steps per second.
        controller: gains of the low-level controller.
        made_with: how the demonstrations were produced: expert, disturbance, versions.

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
    """One episode: observations key → `[steps, *shape]`, labels and executed actions `[steps, A]`, and its seed."""

    observations: Mapping[str, np.ndarray]
    actions: np.ndarray
    executed: np.ndarray
    seed: int

"""What policies learn from, wherever it comes from."""

from collections.abc import Mapping
from typing import Protocol

import numpy as np

from paradp.policy.data.episode import DemonstrationInfo


class Dataset(Protocol):
    """Episodes of observations and actions.

    `Demonstrations` is one, in a zarr store. Whatever else has these attributes can be trained on, distilled on and measured
    at all the same; `paradp.policy.data.windows` cuts it into examples.

    Attributes:
        path: where it came from, for messages.
        info: the features, and what they mean to the robot.
        episode_ends: `[episodes]`, cumulative control steps.
    """

    @property
    def path(self) -> object: ...

    @property
    def info(self) -> DemonstrationInfo: ...

    @property
    def episode_ends(self) -> np.ndarray: ...

    def observations(self) -> Mapping[str, np.ndarray]:
        """By feature, in the order of `info.observation`: `[steps, *shape]`, of all episodes one after the other."""
        ...

    def actions(self) -> np.ndarray:
        """What a policy should learn, `[steps, A]`."""
        ...

    def digest(self) -> str:
        """Of the content: a run goes on only with the same."""
        ...


def step_count(dataset: Dataset) -> int:
    """Control steps of all episodes."""
    return int(dataset.episode_ends[-1]) if len(dataset.episode_ends) else 0


def largest_step(dataset: Dataset) -> np.ndarray:
    """How far, at most, each dimension of an action is from the one before in its episode: `[A]`."""
    actions, ends = dataset.actions(), dataset.episode_ends
    steps = np.abs(np.diff(actions, axis=0))
    within = np.ones(len(steps), bool)
    within[ends[:-1] - 1] = False
    return steps[within].max(0, initial=0.0)

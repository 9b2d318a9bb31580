"""The interface of training data."""

from collections.abc import Mapping
from typing import Protocol

import numpy as np

from paradp.policy.data.episode import DemonstrationInfo
from paradp.policy.features import observed_features
from paradp.policy.identity import digest


class Dataset(Protocol):
    """Episodes of observations and actions.

    `Demonstrations` implements it with a zarr store. Training, distillation and fidelity accept any object with these
    attributes; `paradp.policy.data.windows` cuts it into examples.

    Attributes:
        path: its source, for messages.
        info: description of the features and the robot.
        episode_ends: `[episodes]`, cumulative control steps.
    """

    @property
    def path(self) -> object: ...

    @property
    def info(self) -> DemonstrationInfo: ...

    @property
    def episode_ends(self) -> np.ndarray: ...

    def observations(self) -> Mapping[str, np.ndarray]:
        """Feature → `[steps, *shape]` of all episodes, concatenated; in the order of `info.observation`."""
        ...

    def actions(self) -> np.ndarray:
        """The actions to learn, `[steps, A]`."""
        ...

    def digest(self) -> str:
        """Hash of the data; a run is only continued with the same data."""
        ...


def step_count(dataset: Dataset) -> int:
    """Number of control steps of all episodes."""
    return int(dataset.episode_ends[-1]) if len(dataset.episode_ends) else 0


def largest_step(dataset: Dataset) -> np.ndarray:
    """Largest change of each dimension between consecutive actions of an episode, `[A]`."""
    actions, ends = dataset.actions(), dataset.episode_ends
    steps = np.abs(np.diff(actions, axis=0))
    within = np.ones(len(steps), bool)
    within[ends[:-1] - 1] = False
    return steps[within].max(0, initial=0.0)


def content_digest(dataset: Dataset) -> str:
    """The hash of what training reads: observations and actions, in the order of their columns, and episode ends."""
    observations, features = dataset.observations(), observed_features(dataset.info.observation)
    vectors = [values for key, values in observations.items() if features[key].kind == "state"]
    images = {f"image {key}": values for key, values in observations.items() if features[key].kind == "image"}
    # Vectors are concatenated, as before images were supported, so that digests of older data stay the same.
    together = {"observations": np.concatenate(vectors, axis=-1)} if vectors else {}
    return digest({**together, **images, "actions": dataset.actions(), "episode_ends": dataset.episode_ends})

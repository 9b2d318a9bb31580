"""Observation histories from recorded episodes: what a policy sees at random control steps."""

from collections.abc import Mapping

import numpy as np

from paradp.policy.data.dataset import Dataset, StreamedDataset, step_count
from paradp.policy.data.streaming import read_images
from paradp.policy.features import Shape
from paradp.policy.observations import Observation, take
from paradp.policy.spec import PolicySpec


def recorded_histories(demonstrations: Dataset, spec: PolicySpec, number: int, seed: int) -> Observation:
    """Draws histories that end at random control steps of demonstrations, without repetition.

    Of a streamed data set only the images of these histories are read.

    Args:
        demonstrations: demonstrations of the policy's task.
        spec: the policy's specification.
        number: number of histories.
        seed: seed of the random choice.

    Returns:
        For each feature `[number, To, *shape]`.

    Raises:
        ValueError: the demonstrations are of another task, have other observations, or too few steps.
    """
    info, path = demonstrations.info, demonstrations.path
    if info.task != spec.task:
        raise ValueError(f"{path} holds demonstrations of {info.task!r}, and the policy is for {spec.task!r}")
    if dict(info.observation) != dict(spec.observation):
        raise ValueError(f"{path} observes {_listed(info.observation)}, and the policy {_listed(spec.observation)}")
    if (steps := step_count(demonstrations)) == 0:
        raise ValueError(f"{path} holds no episodes")
    if steps < number:
        raise ValueError(f"{path} has {steps} steps; {number} observations are needed")
    moments = np.random.default_rng(seed).choice(steps, number, replace=False)
    ends = demonstrations.episode_ends
    starts = np.concatenate([[0], ends[:-1]])[np.searchsorted(ends, moments, side="right")]
    rows = np.maximum(starts[:, None], moments[:, None] + np.arange(1 - spec.horizons.observe, 1))
    found = _read(demonstrations, rows)
    return {key: found[key] for key in spec.observation}


def _read(demonstrations: Dataset, rows: np.ndarray) -> Observation:
    """The observations of some control steps, of the shape of `rows` for each feature."""
    if not isinstance(demonstrations, StreamedDataset):
        return take(demonstrations.observations(), rows)
    read, where = np.unique(rows, return_inverse=True)
    images, vectors = read_images(demonstrations, read), demonstrations.vectors()
    where = where.reshape(rows.shape)
    return {key: images[key][where] if key in images else vectors[key][rows] for key in demonstrations.info.observation}


def _listed(sizes: Mapping[str, Shape]) -> str:
    return ", ".join(f"{key} ({size})" for key, size in sizes.items())

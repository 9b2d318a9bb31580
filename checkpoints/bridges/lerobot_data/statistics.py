"""Computes the statistics of a data set's features for LeRobot's normalisation, exactly; LeRobot samples images and bins."""

from collections.abc import Mapping
from typing import Any

import numpy as np

QUANTILES = {"q01": 0.01, "q10": 0.1, "q50": 0.5, "q90": 0.9, "q99": 0.99}
Statistics = dict[str, np.ndarray]


def of_vectors(values: np.ndarray) -> Statistics:
    """Returns the statistics of vectors `[steps, n]`, for each column."""
    exact = values.astype(np.float64)
    found = {"min": exact.min(0), "max": exact.max(0), "mean": exact.mean(0), "std": exact.std(0)}
    quantiles = np.quantile(exact, list(QUANTILES.values()), axis=0)
    return found | {"count": np.array([len(values)])} | dict(zip(QUANTILES, quantiles, strict=True))


def counted_levels(images: np.ndarray) -> np.ndarray:
    """Returns the histograms of uint8 images `[steps, height, width, channels]`: `[channels, 256]`."""
    return np.stack([np.bincount(images[..., c].ravel(), minlength=256) for c in range(images.shape[-1])])


def of_images(levels: np.ndarray, frames: int) -> Statistics:
    """Returns the statistics of images from `counted_levels`, for each channel, in [0, 1]: `[channels, 1, 1]`."""
    value = np.arange(256) / 255
    share = levels / levels.sum(1, keepdims=True)
    mean = share @ value
    found = {"min": [value[row > 0].min() for row in levels], "max": [value[row > 0].max() for row in levels], "mean": mean}
    found["std"] = np.sqrt(np.maximum(share @ value**2 - mean**2, 0))
    cumulative = share.cumsum(1)
    for name, quantile in QUANTILES.items():
        found[name] = value[(cumulative < quantile - 1e-12).sum(1).clip(max=255)]
    return {name: np.asarray(one)[:, None, None] for name, one in found.items()} | {"count": np.array([frames])}


def written(statistics: Mapping[str, Statistics]) -> dict[str, Any]:
    """Converts the statistics of each feature to values for JSON."""
    return {key: {name: values.tolist() for name, values in one.items()} for key, one in statistics.items()}

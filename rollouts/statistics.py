"""Intervals and quantiles: how sure a number is."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import NormalDist

import numpy as np


@dataclass(frozen=True)
class Estimate:
    """A mean and its 95 % interval."""

    mean: float
    ci95: tuple[float, float]


@dataclass(frozen=True)
class Quantiles:
    """A distribution of latencies, milliseconds."""

    p50: float
    p95: float
    p99: float
    max: float
    mean: float

    @classmethod
    def of_seconds(cls, seconds: Sequence[float]) -> "Quantiles":
        ms = 1000 * np.asarray(seconds, float)
        p50, p95, p99 = np.percentile(ms, [50, 95, 99])
        return cls(float(p50), float(p95), float(p99), float(ms.max()), float(ms.mean()))


def wilson(successes: int, trials: int) -> Estimate:
    """A success rate with Wilson's score interval (Wilson 1927), which holds for rates near 0 and 1."""
    z = NormalDist().inv_cdf(0.975)
    p = successes / trials
    centre = (p + z * z / (2 * trials)) / (1 + z * z / trials)
    half = z / (1 + z * z / trials) * sqrt(p * (1 - p) / trials + z * z / (4 * trials * trials))
    return Estimate(p, (max(0.0, centre - half), min(1.0, centre + half)))


def bootstrap(values: Sequence[float], resamples: int = 10_000) -> Estimate:
    """A mean with its percentile bootstrap interval; the same values always give the same interval."""
    array = np.asarray(values, float)
    index = np.random.default_rng(0).integers(len(array), size=(resamples, len(array)))
    low, high = np.percentile(array[index].mean(1), [2.5, 97.5])
    return Estimate(float(array.mean()), (float(low), float(high)))


@dataclass(frozen=True)
class PairedLoss:
    """How much success is lost against a baseline on the same seeds.

    Attributes:
        pairs: seeds that both ran.
        lost, won: seeds where only the baseline, or only the candidate, succeeded.
        loss: (lost − won) / pairs.
        upper95: one-sided 95 % upper bound on the loss.
        ci95: its 95 % interval.
    """

    pairs: int
    lost: int
    won: int
    loss: float
    upper95: float
    ci95: tuple[float, float]


def paired_loss(baseline: dict[int, bool], candidate: dict[int, bool]) -> PairedLoss:
    """The paired loss over the seeds that both have, bounded by the adjusted Wald interval of Bonett & Price (2012).

    Raises:
        ValueError: they have no seed in common.
    """
    seeds = baseline.keys() & candidate.keys()
    if not seeds:
        raise ValueError("the runs to compare have no seed in common")
    lost = sum(baseline[s] and not candidate[s] for s in seeds)
    won = sum(candidate[s] and not baseline[s] for s in seeds)
    n = len(seeds)
    p_lost, p_won = (lost + 1) / (n + 2), (won + 1) / (n + 2)
    spread = sqrt((p_lost + p_won - (p_lost - p_won) ** 2) / (n + 2))
    centre, one_sided, half = p_lost - p_won, NormalDist().inv_cdf(0.95) * spread, NormalDist().inv_cdf(0.975) * spread
    return PairedLoss(n, lost, won, (lost - won) / n, centre + one_sided, (centre - half, centre + half))

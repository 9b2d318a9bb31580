"""Confidence intervals, quantiles and tests."""

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


def interval(estimate: Estimate, digits: int = 3) -> str:
    """Formats a mean with its 95 % interval."""
    mean, low, high = (f"{value:.{digits}f}" for value in (estimate.mean, *estimate.ci95))
    return f"{mean} ({low}{' to ' if '-' in low + high else '–'}{high})"


@dataclass(frozen=True)
class Quantiles:
    """A distribution of latencies, milliseconds; `jitter` is its standard deviation."""

    p50: float
    p95: float
    p99: float
    max: float
    mean: float
    jitter: float

    @classmethod
    def of_seconds(cls, seconds: Sequence[float]) -> "Quantiles":
        """Computes the quantiles of times in seconds."""
        ms = 1000 * np.asarray(seconds, float)
        p50, p95, p99 = np.percentile(ms, [50, 95, 99])
        return cls(float(p50), float(p95), float(p99), float(ms.max()), float(ms.mean()), float(ms.std()))


def wilson(successes: int, trials: int) -> Estimate:
    """A success rate with Wilson's score interval (Wilson 1927), which holds for rates near 0 and 1."""
    z = NormalDist().inv_cdf(0.975)
    p = successes / trials
    centre = (p + z * z / (2 * trials)) / (1 + z * z / trials)
    half = z / (1 + z * z / trials) * sqrt(p * (1 - p) / trials + z * z / (4 * trials * trials))
    return Estimate(p, (max(0.0, centre - half), min(1.0, centre + half)))


# Numbers that a block of resamples draws at once, so that memory does not grow with the values.
_DRAWN = 2**20


def bootstrap(values: Sequence[float], resamples: int = 10_000) -> Estimate:
    """A mean with its percentile bootstrap interval; the same values always give the same interval.

    Percentiles of few values cover the mean too rarely. So they are expanded, as Hesterberg (2015, "What
    Teachers Should Know About the Bootstrap") suggests: to the normal probabilities of Student's t, times √(n / (n − 1)). A
    single value says nothing about its spread, and is its own interval.
    """
    array = np.asarray(values, float)
    n, rng = len(array), np.random.default_rng(0)
    block = max(1, _DRAWN // n)
    sizes = [min(block, resamples - done) for done in range(0, resamples, block)]
    means = np.concatenate([array[rng.integers(n, size=(size, n))].mean(1) for size in sizes])
    tail = _expanded_tail(n) if n > 1 else 0.0
    low, high = np.percentile(means, [100 * tail, 100 * (1 - tail)])
    return Estimate(float(array.mean()), (float(low), float(high)))


def _expanded_tail(n: int) -> float:
    """The probability beyond each end of a bootstrap interval of n values, at most 2.5 %.

    Student's quantile is by the series of Fisher and Cornish (Abramowitz & Stegun 26.7.5).
    """
    z, freedom = NormalDist().inv_cdf(0.975), n - 1
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    t = z + sum(term / freedom**power for power, term in enumerate(terms, start=1))
    return NormalDist().cdf(-t * sqrt(n / freedom))


@dataclass(frozen=True)
class PairedLoss:
    """The loss of success compared with a baseline on the same seeds.

    Attributes:
        pairs: seeds that both ran.
        lost, won: seeds where only the baseline, or only the candidate, succeeded.
    """

    pairs: int
    lost: int
    won: int

    @property
    def loss(self) -> float:
        """(lost − won) / pairs."""
        return (self.lost - self.won) / self.pairs

    @property
    def upper95(self) -> float:
        """One-sided 95 % upper bound on the loss."""
        return self.upper(0.95)

    @property
    def ci95(self) -> tuple[float, float]:
        """95 % interval of the loss."""
        centre, spread = self._adjusted
        half = NormalDist().inv_cdf(0.975) * spread
        return max(-1.0, centre - half), min(1.0, centre + half)

    def upper(self, confidence: float) -> float:
        """One-sided upper bound on the loss, by the adjusted Wald interval of Bonett & Price (2012)."""
        centre, spread = self._adjusted
        return min(1.0, centre + NormalDist().inv_cdf(confidence) * spread)

    @property
    def _adjusted(self) -> tuple[float, float]:
        lost, won = (self.lost + 1) / (self.pairs + 2), (self.won + 1) / (self.pairs + 2)
        return lost - won, sqrt((lost + won - (lost - won) ** 2) / (self.pairs + 2))


def paired_loss(baseline: dict[int, bool], candidate: dict[int, bool]) -> PairedLoss:
    """The paired loss over the seeds that both runs have.

    Raises:
        ValueError: they have no seed in common.
    """
    seeds = baseline.keys() & candidate.keys()
    if not seeds:
        raise ValueError("the runs to compare have no seed in common")
    lost = sum(baseline[s] and not candidate[s] for s in seeds)
    won = sum(candidate[s] and not baseline[s] for s in seeds)
    return PairedLoss(len(seeds), lost, won)


def paired_bootstrap(candidate: Sequence[float], baseline: Sequence[float], resamples: int = 10_000) -> Estimate:
    """The mean of candidate − baseline over pairs, such as episodes of the same seeds, with its bootstrap interval.

    Pairs are resampled together; the same values always give the same interval.

    Raises:
        ValueError: the sequences are empty or not equally long.
    """
    if len(candidate) != len(baseline) or len(candidate) == 0:
        raise ValueError(f"pairs are needed, and there are {len(candidate)} and {len(baseline)} values")
    return bootstrap(list(np.subtract(candidate, baseline, dtype=float)), resamples)


def detectable_difference(pairs: int, discordant: float, power: float = 0.8, level: float = 0.05) -> float:
    """The smallest paired difference in success that a test with this many seeds detects with the given power.

    The one-sided McNemar test finds a difference δ at a share ψ of discordant pairs with the power asked for if
    n δ² = (z_level √ψ + z_power √(ψ − δ²))² (Miettinen 1968, Connor 1987: the normal approximation). A difference needs at
    least as many discordant pairs, so where δ would exceed the share given, ψ = δ.

    Args:
        pairs: n, seeds that both ran.
        discordant: ψ, the share of them where exactly one of the two succeeded.
        power: the probability to detect the difference.
        level: the one-sided probability to detect one where there is none.

    Raises:
        ValueError: a share is out of range, or the pairs are too few to show any difference.
    """
    if not (0 <= discordant <= 1 and 0.5 <= power < 1 and 0 < level < 0.5):
        raise ValueError(f"discordant = {discordant}, power = {power} or level = {level} is out of range")
    from scipy.optimize import brentq  # installed with the simulators, which the compared runs need as well

    z_level, z_power = NormalDist().inv_cdf(1 - level), NormalDist().inv_cdf(power)

    def surplus(difference: float) -> float:
        share = max(discordant, difference)
        return sqrt(pairs) * difference - z_level * sqrt(share) - z_power * sqrt(share - difference**2)

    if surplus(1.0) <= 0:
        raise ValueError(f"{pairs} pairs are too few to show any difference")
    return float(brentq(surplus, 1e-9, 1.0))


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusts p-values for their number (Holm 1979).

    The probability that any true hypothesis has an adjusted value of at most α is at most α, however the tests depend on
    each other, as comparisons with the same baseline do.
    """
    order = np.argsort(p_values, kind="stable")
    stepped = np.asarray(p_values, float)[order] * np.arange(len(order), 0, -1)
    adjusted = np.empty(len(order))
    adjusted[order] = np.minimum(np.maximum.accumulate(stepped), 1.0)
    return [float(p) for p in adjusted]

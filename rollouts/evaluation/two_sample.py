"""Compares the plans of two samplers: a permutation test for equal distributions; spread, coverage and modes."""

from dataclasses import dataclass

import numpy as np
import torch

from paradp.rollouts.statistics import Estimate, bootstrap

# Normalised actions run from −1 to 1; no robot executes a two-thousandth of that range.
RESOLUTION = 1e-3


@dataclass(frozen=True)
class TwoSample:
    """The result of a two-sample test: the distance between two samplers' distributions, and its p-value.

    Attributes:
        statistic: the energy coefficient of inhomogeneity, mean over the observations: how much further apart plans of
            different samplers are than plans of the same sampler, as a share of their distance. At most 1; for equal
            distributions 0 except for chance, which may make it negative.
        p_value: share of permutations with at least as large a statistic.
        chance99: the 99 % quantile of the permutations' statistics.
        permutations: number of permutations.
        by_observation: `[observations]`, the coefficient at each observation; the statistic is their mean.
    """

    statistic: float
    p_value: float
    chance99: float
    permutations: int
    by_observation: np.ndarray


def two_sample_test(
    first: np.ndarray, second: np.ndarray, permutations: int = 5000, seed: int = 0, resolution: float = RESOLUTION
) -> TwoSample:
    """Tests whether two samplers have the same distribution at every observation (energy distance, Székely & Rizzo 2013).

    At each observation every coordinate is divided by its standard deviation over all plans there. The unit and range of a
    coordinate then do not matter. An observation with similar plans counts as much as one with very different plans. Where
    there are two modes, the distance between them dominates, so a lost mode is detected. The plans are not whitened, because
    directions in which they hardly vary would then contribute noise. The coefficient is a ratio of distances, so each
    observation has the same weight in the mean. Plans are only permuted within an observation. The test is exact for any
    distributions, because the scaling does not depend on which sampler a plan comes from.

    Args:
        first: `[observations, plans, D]`, the first sampler's chunks, flat, normalised units; independent at an observation.
        second: `[observations, plans', D]`, the second's, at the same observations and with noise of its own.
        permutations: the least possible p-value is 1 / (`permutations` + 1) (Phipson & Smyth 2010).
        seed: the same seed gives the same p-value.
        resolution: a coordinate with a smaller standard deviation is divided by this one, lest rounding where all plans
            agree weigh as much as a coordinate in which they differ. Normalised units.

    Raises:
        ValueError: the arrays have other shapes, fewer than two plans, or values that are not finite.
    """
    _check(first, second)
    rng = np.random.default_rng(seed)
    in_first = np.arange(first.shape[1] + second.shape[1]) < first.shape[1]
    own, permuted = np.zeros(len(first)), np.zeros(permutations)
    for i, (one, other) in enumerate(zip(first, second, strict=True)):
        both = np.concatenate([one, other]).astype(float)
        scaled = both / _scale(both, resolution)
        distances = _distances(scaled, scaled)
        own[i] = _inhomogeneity(distances, in_first[None])[0]
        permuted += _inhomogeneity(distances, rng.permuted(np.tile(in_first, (permutations, 1)), axis=1)) / len(first)
    # Permutations that give the same partition may differ in the last digit.
    as_large = int((permuted >= own.mean() - 1e-12).sum())
    p_value = (as_large + 1) / (permutations + 1)
    return TwoSample(float(own.mean()), p_value, float(np.quantile(permuted, 0.99)), permutations, own)


def spread(plans: np.ndarray) -> np.ndarray:
    """The median distance between two plans, `[observations]`, of plans `[observations, plans, D]`; in their unit.

    A median, because a root mean square is decided by whether one plan of fifty happened to go elsewhere.
    """
    pairs = np.triu_indices(plans.shape[1], 1)
    return np.array([np.median(_distances(each, each)[pairs]) for each in plans])


def spread_ratio(plans: np.ndarray, reference: np.ndarray, resolution: float = RESOLUTION) -> Estimate:
    """The geometric mean over observations of one sampler's spread over another's, with its bootstrap interval.

    Args:
        plans, reference: `[observations, plans, D]`, at the same observations, normalised units.
        resolution: a smaller spread counts as this one.

    Raises:
        ValueError: as for `two_sample_test`.
    """
    _check(plans, reference)
    own, others = (np.maximum(spread(each), resolution) for each in (plans, reference))
    logarithm = bootstrap(list(np.log(own / others)))
    low, high = np.exp(logarithm.ci95)
    return Estimate(float(np.exp(logarithm.mean)), (float(low), float(high)))


def coverage(plans: np.ndarray, reference: np.ndarray, neighbours: int = 5, resolution: float = RESOLUTION) -> np.ndarray:
    """The share, `[observations]`, of the reference's plans that have one of the sampler's nearby (Naeem et al. 2020).

    Nearby is not further than the `neighbours`-th of the reference's other plans, in the scales of `two_sample_test`. A mode
    that the sampler never draws is not covered. For equal distributions the mean is `expected_coverage`.

    Args:
        plans, reference: `[observations, plans, D]`, at the same observations, normalised units.
        neighbours: how many; fewer than the reference's plans.
        resolution: as for `two_sample_test`.

    Raises:
        ValueError: as for `two_sample_test`, or the reference has too few plans.
    """
    _check(plans, reference)
    if not 0 < neighbours < reference.shape[1]:
        raise ValueError(f"{neighbours} neighbours of a plan need more plans than the reference's {reference.shape[1]}")
    shares = np.zeros(len(plans))
    for i, (own, others) in enumerate(zip(plans, reference, strict=True)):
        scale = _scale(np.concatenate([own, others]), resolution)
        own, others = own / scale, others / scale
        reach = np.sort(_distances(others, others), axis=1)[:, neighbours]
        shares[i] = (_distances(others, own).min(1) <= reach).mean()
    return shares


def expected_coverage(plans: int, reference: int, neighbours: int = 5) -> float:
    """The mean of `coverage` for two samplers with the same distribution, whatever it is (Naeem et al. 2020, eq. 9)."""
    nearer = np.arange(1, neighbours + 1)
    return float(1 - np.prod((reference - nearer) / (plans + reference - nearer)))


@dataclass(frozen=True)
class Modes:
    """The two groups that the plans at one observation fall into.

    Attributes:
        larger, smaller: `[D]`, their mean plans.
    """

    larger: np.ndarray
    smaller: np.ndarray

    def smaller_share(self, plans: np.ndarray) -> float:
        """The share of plans `[n, D]` that are nearer to the smaller mode."""
        to_larger, to_smaller = (np.linalg.norm(plans - mode, axis=1) for mode in (self.larger, self.smaller))
        return float((to_smaller < to_larger).mean())


def find_modes(plans: np.ndarray, least_share: float = 0.1, stray: float = 0.02) -> Modes | None:
    """Two modes, where there clearly are two; otherwise `None`.

    Plans are split in two along their first principal component, so that the sum of squares within both is least. The split
    is clear if hardly any plan lies in the middle third between the two means; of a normal distribution 21 % do, of a
    uniform one 17 %. The modes are fitted to these plans, so compare their shares on other plans.

    Args:
        plans: `[n, D]`, independent, of one sampler at one observation, normalised units.
        least_share: a group with a smaller share does not count as a mode.
        stray: the share of plans that may lie in the middle third.

    Raises:
        ValueError: there are fewer than two plans, or values that are not finite.
    """
    if plans.ndim != 2 or len(plans) < 2 or not np.isfinite(plans).all():
        raise ValueError(f"modes are sought in two or more finite plans [n, D]; these have shape {plans.shape}")
    centred = plans - plans.mean(0)
    scores = centred @ np.linalg.svd(centred, full_matrices=False)[2][0]
    above = scores > _best_cut(np.sort(scores))
    if not least_share <= above.mean() <= 1 - least_share:
        return None
    low, high = scores[~above].mean(), scores[above].mean()
    between = np.abs(scores - (low + high) / 2) < (high - low) / 6
    if between.mean() > stray:
        return None
    groups = sorted((plans[~above], plans[above]), key=len)
    return Modes(larger=groups[1].mean(0), smaller=groups[0].mean(0))


def _best_cut(scores: np.ndarray) -> float:
    """The best index for splitting sorted numbers `[n]`: the one with the smallest sum of squares within both parts."""
    count = np.arange(1, len(scores))
    total = scores.cumsum()
    # The sum of squares between two parts, up to a constant: largest where that within them is least.
    between = total[:-1] ** 2 / count + (total[-1] - total[:-1]) ** 2 / (len(scores) - count)
    cut = int(between.argmax())
    return float(scores[cut] + scores[cut + 1]) / 2


def _distances(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Between plans `[n, D]` and `[m, D]`, `[n, m]`; exactly 0 between equal ones."""
    one, other = (torch.from_numpy(plans.astype(float)) for plans in (first, second))
    return torch.cdist(one, other, compute_mode="donot_use_mm_for_euclid_dist").numpy()


def _scale(plans: np.ndarray, resolution: float) -> np.ndarray:
    """The scales by which the coordinates of plans `[n, D]` are divided, `[D]`."""
    return np.sqrt(plans.astype(float).var(0) + resolution**2)


def _inhomogeneity(distances: np.ndarray, in_first: np.ndarray) -> np.ndarray:
    """1 − mean distance within / mean distance between, `[k]`, for k partitions `[k, plans of both]` into two samples.

    The distances within a sample exclude those of plans to themselves, so that equal distributions give 0 and not 1/n.
    """
    first = in_first.astype(float)
    n, m = int(in_first[0].sum()), int((~in_first[0]).sum())
    to_first = first @ distances
    within_first = (to_first * first).sum(1)
    across = to_first.sum(1) - within_first
    within_second = distances.sum() - within_first - 2 * across
    between = across / (n * m)
    within = (within_first / (n * (n - 1)) + within_second / (m * (m - 1))) / 2
    return np.divide(between - within, between, out=np.zeros(len(first)), where=between > 0)


def _check(first: np.ndarray, second: np.ndarray) -> None:
    shapes = f"{first.shape} and {second.shape}"
    if first.ndim != 3 or second.ndim != 3:
        raise ValueError(f"plans must be [observations, plans, D]; their shapes are {shapes}")
    if len(first) != len(second) or first.shape[2] != second.shape[2] or 0 in first.shape:
        raise ValueError(f"both samplers must have plans of one size at the same observations; their shapes are {shapes}")
    if min(first.shape[1], second.shape[1]) < 2:
        raise ValueError(f"at least two plans of each sampler are needed at every observation; their shapes are {shapes}")
    if not (np.isfinite(first).all() and np.isfinite(second).all()):
        raise ValueError("plans to compare must be finite")

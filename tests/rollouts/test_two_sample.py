"""The two-sample test keeps its level and detects differences; spread, coverage and modes for known distributions."""

import numpy as np
import pytest
from scipy.stats import binom, norm

from paradp.rollouts.evaluation.two_sample import (
    coverage,
    expected_coverage,
    find_modes,
    spread,
    spread_ratio,
    two_sample_test,
)

OBSERVATIONS, PLANS, TIMES = 6, 24, 8


def chunks(rng, width=1.0, smaller=0.0, observations=OBSERVATIONS, plans=PLANS):
    """Plans that are smooth in time: two coordinates, each a random line with small noise; scales differ by observation.

    A share `smaller` of the plans differs in the first coordinate; the third is constant except for rounding.
    """
    lines = rng.normal(size=(observations, plans, 2, 2)) @ np.stack([np.ones(TIMES), np.linspace(-1, 1, TIMES)])
    lines = width * (lines + 0.1 * rng.normal(size=lines.shape))
    lines[:, :, 0] += 8 * (rng.random((observations, plans, 1)) < smaller)
    scale = 10.0 ** np.linspace(-2, 0, observations)[:, None, None, None]
    rounding = 1e-6 * rng.normal(size=(observations, plans, TIMES))
    return np.concatenate([(scale * lines).reshape(observations, plans, -1), 1 + rounding], -1)


def test_equal_distributions_are_rejected_as_often_as_the_level_says():
    rng = np.random.default_rng(0)
    trials = 300
    tests = [two_sample_test(chunks(rng), chunks(rng), permutations=99, seed=i) for i in range(trials)]
    false = sum(test.p_value <= 0.05 for test in tests)
    assert binom.ppf(0.001, trials, 0.05) <= false <= binom.ppf(0.999, trials, 0.05)
    # The coefficient is centred at 0, which it would not be with the distances of plans to themselves.
    values = np.array([test.statistic for test in tests])
    assert abs(values.mean()) < 4 * values.std() / trials**0.5 < 1 / PLANS / 4


@pytest.mark.parametrize("fault", ["shift", "narrow", "lost mode", "lost correlation"])
def test_different_distributions_are_detected(fault):
    rng = np.random.default_rng(1)
    first = chunks(rng, smaller=0.3 if fault == "lost mode" else 0.0)
    second = chunks(rng, width=0.6 if fault == "narrow" else 1.0)
    if fault == "shift":
        second += 0.6 * first.std(1, keepdims=True)
    if fault == "lost correlation":  # same marginals, but a plan's coordinates are other plans'
        second = rng.permuted(second, axis=1)
    assert two_sample_test(first, second, permutations=500).p_value < 0.01


def test_a_difference_at_the_observation_with_the_closest_plans_is_detected():
    rng = np.random.default_rng(2)
    first, second = chunks(rng), chunks(rng)
    second[0] += 2 * first[0].std(0)
    test = two_sample_test(first, second, permutations=500)
    assert test.p_value == 1 / 501 and test.by_observation.argmax() == 0  # no permutation gives as much


def test_differences_below_the_resolution_are_not_found():
    rng = np.random.default_rng(3)
    first, second = chunks(rng), chunks(rng)
    second[:, :, -TIMES:] += 1e-5  # ten times the rounding of these coordinates
    assert two_sample_test(first, second, permutations=200).p_value > 0.05
    assert two_sample_test(first, second, permutations=200, resolution=1e-8).p_value < 0.01


def test_the_coefficient_follows_its_definition():
    first, second = np.array([[[0.0], [1.0]]]), np.array([[[3.0], [5.0], [6.0]]])
    # Between: 3 5 6 2 4 5 / 6. Within: 1, and 2 3 1 / 3. A single coordinate's scale cancels.
    between, within = 25 / 6, (1 + 2) / 2
    assert two_sample_test(first, second, resolution=0.0).statistic == pytest.approx(1 - within / between)


def test_the_coefficient_does_not_depend_on_names_order_or_units():
    rng = np.random.default_rng(4)
    first, second = chunks(rng), chunks(rng, width=0.7, plans=PLANS + 5)
    test = two_sample_test(first, second, resolution=0.0)
    shuffled = rng.permuted(np.arange(PLANS))
    units = 10.0 ** rng.uniform(-3, 3, first.shape[2])
    for other in (
        two_sample_test(second, first, resolution=0.0),
        two_sample_test(first[:, shuffled], second, resolution=0.0),
        two_sample_test(first * units, second * units, resolution=0.0),
    ):
        assert other.statistic == pytest.approx(test.statistic)
    assert two_sample_test(first, second, resolution=0.0).p_value == test.p_value


def test_identical_plans_have_no_difference():
    same = np.ones((2, 4, 3))
    assert two_sample_test(same, same, permutations=50).p_value == 1
    assert spread_ratio(same, same).ci95 == (1, 1)
    assert find_modes(same[0]) is None


def test_spread_is_the_median_distance_between_plans():
    plans = np.random.default_rng(5).normal(0, 3, (2, 3000, 1))
    assert spread(plans) == pytest.approx(3 * 2**0.5 * norm.ppf(0.75), rel=0.05)
    plans[:, :30] += 1000
    assert spread(plans) == pytest.approx(3 * 2**0.5 * norm.ppf(0.75), rel=0.08)


def test_the_interval_of_a_spread_ratio_covers_it():
    rng = np.random.default_rng(6)
    ratio = spread_ratio(chunks(rng, 0.8, observations=40), chunks(rng, observations=40), resolution=0.0)
    assert ratio.mean == pytest.approx(0.8, abs=0.06) and ratio.ci95[0] < 0.8 < ratio.ci95[1] < 1


def test_equal_distributions_cover_each_other_as_much_as_theory_says():
    rng = np.random.default_rng(9)
    for own, others, neighbours in ((24, 24, 5), (10, 30, 2)):
        shares = coverage(chunks(rng, observations=600, plans=own), chunks(rng, observations=600, plans=others), neighbours)
        assert abs(shares.mean() - expected_coverage(own, others, neighbours)) < 4 * shares.std() / 600**0.5


def test_a_missing_mode_is_not_covered():
    rng = np.random.default_rng(10)
    reference, lost = chunks(rng, smaller=0.3, observations=60), chunks(rng, observations=60)
    assert coverage(chunks(rng, smaller=0.3, observations=60), reference).mean() > 0.93
    assert 0.65 < coverage(lost, reference).mean() < 0.78  # a mode of five plans reaches out to the other
    with pytest.raises(ValueError, match="24 neighbours"):
        coverage(lost, reference, PLANS)


def test_two_modes_are_found_with_their_shares():
    rng = np.random.default_rng(7)
    drawn = chunks(rng, smaller=0.3, observations=1, plans=400)[0]
    modes = find_modes(drawn[:100])
    elsewhere = drawn[:, :TIMES].mean(1) > 0.04  # the modes are at 0 and 0.08
    assert modes is not None and modes.smaller_share(drawn) == pytest.approx(elsewhere.mean())
    assert 0.2 < elsewhere.mean() < 0.4


@pytest.mark.parametrize("distribution", ["normal", "uniform", "line", "outlier"])
def test_a_single_mode_is_not_split(distribution):
    rng = np.random.default_rng(8)
    for _ in range(200):
        plans = rng.normal(size=(64, 30))
        if distribution == "uniform":
            plans = rng.uniform(-1, 1, (64, 30))
        if distribution == "line":
            plans = rng.uniform(-1, 1, (64, 1)) * np.linspace(0, 1, 30)
        if distribution == "outlier":
            plans[0] += 100
        assert find_modes(plans) is None


@pytest.mark.parametrize(
    ("first", "second", "said"),
    [
        (np.zeros((4, 3)), np.zeros((4, 3)), r"\[observations, plans, D\]"),
        (np.zeros((2, 4, 3)), np.zeros((3, 4, 3)), "same observations"),
        (np.zeros((2, 4, 3)), np.zeros((2, 4, 2)), "one size"),
        (np.zeros((2, 1, 3)), np.zeros((2, 4, 3)), "two plans"),
        (np.zeros((0, 4, 3)), np.zeros((0, 4, 3)), "same observations"),
        (np.full((2, 4, 3), np.nan), np.zeros((2, 4, 3)), "finite"),
    ],
)
def test_an_error_names_what_cannot_be_compared(first, second, said):
    for compare in (two_sample_test, spread_ratio, coverage):
        with pytest.raises(ValueError, match=said):
            compare(first, second)


def test_modes_need_plans():
    for plans in (np.zeros((1, 3)), np.zeros(3), np.full((4, 3), np.inf)):
        with pytest.raises(ValueError, match="two or more finite plans"):
            find_modes(plans)

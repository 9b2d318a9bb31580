"""Intervals against published and independent values."""

import numpy as np
import pytest
from scipy.stats import binomtest, norm, t

from paradp.rollouts import Episode, StepRecord, statistics
from paradp.rollouts.episodes.summary import mean_seconds, success_and_reward, throughput
from paradp.rollouts.statistics import (
    Quantiles,
    _expanded_tail,
    bootstrap,
    detectable_difference,
    holm,
    paired_bootstrap,
    paired_loss,
    wilson,
)


@pytest.mark.parametrize(("successes", "trials"), [(0, 20), (3, 20), (10, 20), (20, 20), (187, 200)])
def test_the_wilson_interval_equals_scipys(successes, trials):
    estimate = wilson(successes, trials)
    reference = binomtest(successes, trials).proportion_ci(method="wilson")
    assert estimate.mean == successes / trials
    assert estimate.ci95 == pytest.approx((reference.low, reference.high), abs=1e-9)


def test_bootstrap_is_reproducible_and_covers_the_mean():
    values = np.random.default_rng(1).normal(3, 1, 200)
    estimate = bootstrap(values)
    assert estimate == bootstrap(values)
    half = 1.96 * values.std() / 200**0.5
    assert estimate.ci95 == pytest.approx((values.mean() - half, values.mean() + half), abs=0.03)
    assert bootstrap([1.0] * 5).ci95 == (1.0, 1.0)
    assert bootstrap([0.7]).ci95 == (0.7, 0.7)


@pytest.mark.parametrize("n", (2, 3, 5, 10, 200))
def test_bootstrap_intervals_of_few_values_are_expanded_by_students_quantile(n):
    assert _expanded_tail(n) == pytest.approx(norm.cdf(-t.ppf(0.975, n - 1) * (n / (n - 1)) ** 0.5), abs=2e-4)
    assert _expanded_tail(n) < 0.025


def test_blocks_of_resamples_do_not_change_an_interval(monkeypatch):
    values = np.random.default_rng(2).normal(size=37)
    whole = bootstrap(values)
    monkeypatch.setattr(statistics, "_DRAWN", 1000)
    assert bootstrap(values) == whole


def test_bootstrap_intervals_of_few_values_cover_the_mean():
    """Skewed rewards, as PushT's: three quarters are 1, the others anything below."""
    rng = np.random.default_rng(3)
    draws = [np.where(rng.random(10) < 0.5, 1.0, rng.random(10)) for _ in range(600)]
    covered = [low <= 0.75 <= high for low, high in (bootstrap(list(values), 1000).ci95 for values in draws)]
    assert np.mean(covered) > 0.92


def test_paired_loss_counts_pairs_and_bounds_the_difference():
    baseline = {seed: seed >= 4 for seed in range(200)}
    candidate = {seed: seed >= 2 and seed != 50 and seed != 51 for seed in range(200)}
    loss = paired_loss(baseline, candidate)
    assert (loss.pairs, loss.lost, loss.won, loss.loss) == (200, 2, 2, 0.0)
    # Bonett & Price: p̃ = 3/202 each way, so the bound is z · √(2·3/202 / 202).
    assert loss.upper95 == pytest.approx(1.6449 * (6 / 202 / 202) ** 0.5, abs=1e-4)


def test_the_bound_on_a_paired_loss_covers_as_often_as_it_says():
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(2000):
        u = rng.random(200)
        baseline, candidate = u < 0.95, (u > 0.02) & (u < 0.95) | (u > 0.99)
        loss = paired_loss(dict(enumerate(baseline)), dict(enumerate(candidate)))
        covered += loss.upper95 >= 0.02 - 0.01
    assert covered / 2000 > 0.94


def test_only_seeds_in_both_runs_are_paired():
    assert paired_loss({1: True, 2: True}, {2: False, 3: True}).pairs == 1


def test_quantiles_are_milliseconds():
    q = Quantiles.of_seconds(np.arange(101) / 1000)
    assert (q.p50, q.p95, q.p99, q.max, q.mean) == pytest.approx((50, 95, 99, 100, 50))


def episode(seed: int, started: float, seconds: float, steps: int, reward: float = 0.0) -> Episode:
    records = [StepRecord(i, reward, reward > 0.5, 0.01, None) for i in range(steps)]
    return Episode(seed, reward, reward > 0.5, started, seconds, records)


def test_throughput_counts_the_time_in_which_any_episode_ran():
    # Two at once, one of them long; then a pause of 90 s, as of a run that was resumed, and another.
    episodes = [episode(0, 0.0, 2.0, 10), episode(1, 0.0, 10.0, 50), episode(2, 100.0, 5.0, 15)]
    assert throughput(episodes) == pytest.approx(75 / 15)
    assert mean_seconds(episodes) == pytest.approx(17 / 3)


def test_a_reward_of_0_or_1_gets_the_interval_of_a_rate():
    _, reward = success_and_reward([episode(i, 0.0, 1.0, 3, 1.0) for i in range(20)])
    assert reward == wilson(20, 20) and reward.ci95[0] < 0.9
    _, graded = success_and_reward([episode(i, 0.0, 1.0, 3, 0.5 + 0.01 * i) for i in range(20)])
    assert graded.mean == pytest.approx(0.595) and graded.ci95[0] > 0.5


def test_a_paired_bootstrap_takes_the_pairs_as_they_are():
    rng = np.random.default_rng(2)
    baseline = rng.normal(0, 10, 300)
    difference = rng.normal(0.5, 1, 300)
    estimate = paired_bootstrap(baseline + difference, baseline)
    half = 1.96 * difference.std() / 300**0.5
    assert estimate == paired_bootstrap(baseline + difference, baseline)
    assert estimate.mean == pytest.approx(difference.mean())
    assert estimate.ci95 == pytest.approx((difference.mean() - half, difference.mean() + half), abs=0.02)
    assert paired_bootstrap([True, False], [True, True]).mean == -0.5
    for candidate, other in (([1.0], [1.0, 2.0]), ([], [])):
        with pytest.raises(ValueError, match="pairs are needed"):
            paired_bootstrap(candidate, other)


@pytest.mark.parametrize(("pairs", "discordant"), [(200, 0.2), (500, 0.1), (1000, 0.05)])
def test_a_detectable_difference_is_detected_as_often_as_it_says(pairs, discordant):
    difference = detectable_difference(pairs, discordant)
    # McNemar's one-sided test on counts of (lost, won, neither).
    shares = [(discordant + difference) / 2, (discordant - difference) / 2, 1 - discordant]
    lost, won, _ = np.random.default_rng(0).multinomial(pairs, shares, 20_000).T
    found = (lost - won) / np.sqrt(np.maximum(lost + won, 1)) > 1.6449
    assert found.mean() == pytest.approx(0.8, abs=0.03)


def test_a_detectable_difference_solves_connors_equation_and_needs_its_discordant_pairs():
    difference = detectable_difference(300, 0.2)
    assert 300 * difference**2 == pytest.approx((1.6449 * 0.2**0.5 + 0.8416 * (0.2 - difference**2) ** 0.5) ** 2, rel=1e-3)
    few = detectable_difference(200, 0.01)
    assert few > 0.01 and few == pytest.approx(detectable_difference(200, 0.0))
    assert few == pytest.approx((1.6449 + 0.8416 * (1 - few) ** 0.5) ** 2 / 200, rel=1e-3)
    assert detectable_difference(800, 0.2) == pytest.approx(difference * (300 / 800) ** 0.5, rel=0.01)
    for arguments in ((200, 1.5), (200, -0.1), (200, 0.1, 0.3), (2, 0.1)):
        with pytest.raises(ValueError, match=r"out of range|too few"):
            detectable_difference(*arguments)


def test_holm_steps_down_from_the_smallest():
    assert holm([0.04, 0.01, 0.03, 0.005]) == pytest.approx([0.06, 0.03, 0.06, 0.02])
    assert holm([0.7, 0.6]) == [1.0, 1.0] and holm([0.3]) == [0.3]

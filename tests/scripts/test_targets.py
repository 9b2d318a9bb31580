"""The promised rounds and evaluations of samplers on the shipped Square policy, at 64 observations."""

import numpy as np
import pytest

from paradp.checkpoints import load_policy
from paradp.policy import Autotuner
from paradp.sampler import Picard
from paradp.scripts.studies.bench import Bench

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def bench():
    return Bench(load_policy("square", "ddpm"))


@pytest.fixture(scope="module")
def usual(bench):
    return bench.measure("para-ddpm")


def test_paraddpm_needs_the_rounds_of_the_paper(usual):
    assert 22 < usual.rounds.mean() < 29 and 350 < usual.evaluations.mean() < 460
    assert np.median(usual.error) < 1e-3


@pytest.mark.parametrize(
    ("options", "rounds", "evaluations"),
    [("", 0.45, 0.45), (":window=50", 0.38, np.inf), (":window=4", np.inf, 112 / 415)],
)
def test_exact_sampling_takes_less_than_half_of_paraddpms_rounds(bench, usual, options, rounds, evaluations):
    measured = bench.measure(f"speculative-ddpm{options}")
    assert measured.rounds.mean() <= rounds * usual.rounds.mean()
    assert measured.evaluations.mean() <= evaluations * usual.evaluations.mean()


def test_a_better_draft_saves_rounds(bench):
    drafts = [":draft=frozen:data-variance=0", ":draft=picard:data-variance=0", ":draft=picard", ""]
    rounds = [bench.measure(f"speculative-ddpm{draft}").rounds.mean() for draft in drafts]
    assert rounds == sorted(rounds, reverse=True)


def test_the_linear_split_saves_rounds_at_a_small_error(bench):
    measured = bench.measure("para-ddpm:split=linear:tolerance=0.03")
    assert measured.rounds.mean() <= 16 and measured.evaluations.mean() <= 230
    assert np.median(measured.error) <= 5e-3


@pytest.mark.parametrize("sampler", ["para-ddim-15", "para-dpm-solver-15"])
def test_few_step_solvers_halve_their_rounds(bench, sampler):
    measured = bench.measure(sampler)
    assert measured.rounds.mean() <= 8 and np.median(measured.error) <= 5e-2


@pytest.mark.parametrize("engine", ["eager", "openvino"])
def test_other_rows_change_a_plan_only_by_rounding(engine):
    """The number of rows in a call, and an engine's padding, change the rounding of matrix products."""
    bench = Bench(load_policy("square", "ddpm", engine=engine), observations=8)
    solver = Picard(bench.policy.solver.table, 20, 0.0)
    noise = bench.noise(solver.table.steps)
    together = solver.solve(bench.policy.engine, bench.condition, noise).sample
    for i in range(3):
        alone = solver.solve(bench.policy.engine, bench.condition[i : i + 1], noise[i : i + 1]).sample
        assert (alone[0] - together[i]).abs().max() < 1e-4


def test_a_bigger_budget_is_never_much_worse(bench):
    medians = [np.median(bench.measure(f"para-ddpm:max-rounds={n}").error) for n in (4, 8, 12, 16, 20, 24, 28)]
    assert all(later < 1.5 * min(medians[: i + 1]) for i, later in enumerate(medians[1:]))
    assert medians[-1] < 0.1 * medians[0]


def test_the_autotuner_counts_the_rounds_of_real_observations(bench):
    """Its observations are random; the rounds hardly depend on them."""
    policy = bench.policy
    counts = Autotuner(policy.engine, policy.network, policy.spec, policy.device)
    for sampler in ("speculative-ddpm:window=3", "speculative-ddpm:window=8", "speculative-ddpm-25:window=8"):
        trial = counts._try(sampler)
        assert np.mean(trial.rounds) == pytest.approx(bench.measure(sampler).rounds.mean(), rel=0.15)

"""A deadline ends a solve with its current iterate and status. Time is simulated: a network call takes a second."""

import math

import pytest
import torch

from paradp.sampler import (
    NoisePath,
    Picard,
    Sequential,
    Speculative,
    Status,
    mixture_denoiser,
)
from paradp.sampler.noise import noise_generator
from paradp.sampler.rounds import base
from paradp.sampler.rounds.backends import only

SOLVERS = {
    "sequential": Sequential,
    "unit": lambda table: Picard(table, 20, 1e-3),
    "linear": lambda table: Picard(table, 20, 1e-3, split="linear"),
    "speculative": lambda table: Speculative(table, 8),
}


class Slow:
    """A denoiser whose calls take a second of simulated time."""

    def __init__(self, denoiser, monkeypatch):
        self.seconds = 0.0
        self._denoiser = denoiser
        monkeypatch.setattr(base.time, "perf_counter", lambda: self.seconds)

    def __call__(self, x, t, condition):
        self.seconds += 1.0
        return self._denoiser(x, t, condition)


@pytest.fixture(params=["numba", "torch"])
def slow(request, denoiser, monkeypatch):
    with only(request.param):
        yield Slow(denoiser, monkeypatch)


@pytest.mark.parametrize("name", SOLVERS)
def test_a_deadline_is_kept_and_reported(table, slow, draw, name):
    solver = SOLVERS[name](table)
    condition, noise = draw(range(8), table)
    whole = solver.solve(slow, condition, noise)
    most = int(whole.stats.rounds.max())
    assert whole.stats.converged.all()
    for budget in (1, 2, 5, most - 1, most, most + 1):
        began = slow.seconds
        solution = solver.solve(slow, condition, noise, None, began + budget)
        assert slow.seconds - began == min(budget, most)
        assert solution.sample.isfinite().all() and (solution.sample.abs() <= 1).all()
        done = solution.stats.converged
        assert torch.equal(solution.stats.status[~done], torch.full_like(solution.stats.status[~done], Status.OUT_OF_BUDGET))
        # Who needed no more rounds than there were has the sample that it would have had anyway.
        assert torch.equal(done, whole.stats.rounds <= budget)
        assert torch.equal(solution.sample[done], whole.sample[done])
        assert torch.equal(solution.stats.rounds, whole.stats.rounds.clamp(max=budget))


@pytest.mark.parametrize("name", SOLVERS)
def test_a_deadline_that_has_passed_leaves_one_round(table, slow, draw, name):
    condition, noise = draw(range(2), table)
    solution = SOLVERS[name](table).solve(slow, condition, noise, None, -1.0)
    assert slow.seconds == 1 and solution.stats.rounds.tolist() == [1, 1]
    assert (solution.stats.status == Status.OUT_OF_BUDGET).all()


@pytest.mark.parametrize("name", SOLVERS)
def test_more_time_brings_a_sample_nearer(table, slow, draw, name):
    """The median error relative to the sample without a deadline decreases once the modes begin to separate."""
    solver = SOLVERS[name](table)
    condition, noise = draw(range(16), table)
    whole = solver.solve(slow, condition, noise)
    most = int(whole.stats.rounds.max())

    def error(share: float) -> float:
        until = slow.seconds + math.ceil(share * most)
        return float((solver.solve(slow, condition, noise, None, until).sample - whole.sample).abs().amax((1, 2)).median())

    errors = [error(share) for share in (0.5, 0.7, 0.9)]
    assert errors[0] > errors[1] > errors[2]


def test_the_status_distinguishes_a_prediction_that_is_not_finite_from_a_lack_of_time(table, slow, draw):
    condition, noise = draw(range(4), table)
    condition[2] = math.nan
    for make in SOLVERS.values():
        status = make(table).solve(slow, condition, noise, None, slow.seconds + 3).stats.status
        assert status.tolist() == [Status.OUT_OF_BUDGET] * 2 + [Status.NOT_FINITE, Status.OUT_OF_BUDGET]


def test_a_budget_selects_and_all_samples_together_keep_the_bound(table):
    """A mixture with one mode of weight 0.8. Standard errors are below 0.9 %, and the margins are five of them."""
    count, margin = 3000, 0.045
    denoiser, condition = mixture_denoiser(table, below=0.8), torch.zeros(count, 1)

    def share(samples: torch.Tensor) -> float:
        return float((samples < 0).double().mean())

    def noise(first: int) -> NoisePath:
        return NoisePath.draw([noise_generator(first + i) for i in range(count)], table.steps, (1,), dtype=torch.float64)

    exact = share(Sequential(table).solve(denoiser, condition, noise(10_000)).sample)
    path = noise(0)
    whole = Speculative(table).solve(denoiser, condition, path)
    assert abs(share(whole.sample) - exact) < margin
    missed = []
    for budget in (6, 7, 8, 10, 14):
        solution = Speculative(table, max_rounds=budget).solve(denoiser, condition, path)
        done, out = solution.stats.converged, 1 - float(solution.stats.converged.double().mean())
        # The coupling that the proof in docs/exactness.md rests on: who is done in time has the sample of no deadline.
        assert torch.equal(done, whole.stats.rounds <= budget) and torch.equal(solution.sample[done], whole.sample[done])
        assert abs(share(solution.sample) - exact) < out + margin
        assert abs(share(solution.sample[done]) - exact) < out + margin
        missed.append((out, share(solution.sample) - exact, share(solution.sample[done]) - exact))
    # With 7 rounds a third are out of budget: all samples together are three times as near as those done in time.
    out, of_all, of_done = missed[1]
    assert 0.2 < out < 0.45 and of_done > margin and abs(of_all) < of_done / 3
    assert missed[-1][0] < 0.005

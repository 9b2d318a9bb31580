"""Parallel equals sequential; environments are independent; statistics are correct."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from paradp.sampler import NoisePath, Picard, Sequential, Speculative, Status, step_table


def test_a_window_of_one_is_the_sequential_sampler(table, denoiser, draw):
    condition, noise = draw(range(4), table)
    sequential = Sequential(table).solve(denoiser, condition, noise)
    picard = Picard(table, window=1, tolerance=0.0).solve(denoiser, condition, noise)
    assert (picard.sample - sequential.sample).abs().max() < 1e-12
    assert picard.stats.evaluations.tolist() == picard.stats.rounds.tolist() == [table.steps] * 4
    assert sequential.stats.evaluations.tolist() == [table.steps] * 4


SCHEDULES = {
    "ddpm": ({"_class_name": "DDPMScheduler"}, {}),
    "ddim": ({"_class_name": "DDIMScheduler"}, {}),
    "ddim clipped, with noise": ({"_class_name": "DDIMScheduler"}, {"eta": 0.7, "clipped_epsilon": True}),
    "ddpm, not clipped": ({"_class_name": "DDPMScheduler", "clip_sample": False}, {}),
    "ddim, not clipped": ({"_class_name": "DDIMScheduler", "clip_sample": False}, {"eta": 0.3}),
    "ddim, another range": ({"_class_name": "DDIMScheduler", "clip_sample_range": 0.4}, {}),
    "dpm-solver": ({"_class_name": "DPMSolverMultistepScheduler"}, {"clip": 1.0}),
    "dpm-solver, not clipped": ({"_class_name": "DPMSolverMultistepScheduler"}, {}),
    "dpm-solver, first order": ({"_class_name": "DPMSolverMultistepScheduler", "solver_order": 1}, {"clip": 1.0}),
    "dpm-solver sde heun": (
        {
            "_class_name": "DPMSolverMultistepScheduler",
            "algorithm_type": "sde-dpmsolver++",
            "solver_type": "heun",
            "final_sigmas_type": "sigma_min",
        },
        {"clip": 1.0},
    ),
}


@settings(deadline=None, max_examples=60)
@given(
    schedule=st.sampled_from(sorted(SCHEDULES)),
    window=st.integers(1, 40),
    steps=st.integers(2, 40),
    batch=st.integers(1, 16),
    seed=st.integers(0, 10_000),
    single=st.booleans(),
    prediction_type=st.sampled_from(["epsilon", "sample", "v_prediction"]),
    beta_schedule=st.sampled_from(["squaredcos_cap_v2", "linear", "scaled_linear", "sigmoid"]),
    own_grid=st.booleans(),
    split=st.sampled_from(["unit", "linear"]),
    extension=st.sampled_from([None, "copy", "roll"]),
    anderson=st.integers(0, 3),
)
def test_at_zero_tolerance_every_variant_gives_the_sequential_sample(
    schedule, window, steps, batch, seed, single, prediction_type, beta_schedule, own_grid, split, extension, anderson
):
    config, options = SCHEDULES[schedule]
    config = {"num_train_timesteps": 100, "prediction_type": prediction_type, "beta_schedule": beta_schedule, **config}
    grid = torch.randperm(100, generator=torch.Generator().manual_seed(seed))[:steps].sort(descending=True).values
    table = step_table(config, timesteps=grid.tolist(), **options) if own_grid else step_table(config, steps, **options)
    dtype = torch.float32 if single else torch.float64
    noise = NoisePath.draw([torch.Generator().manual_seed(seed + i) for i in range(batch)], steps, (4, 2), dtype=dtype)
    condition = torch.linspace(-1, 1, batch, dtype=dtype)[:, None]

    def network(x, t, c):
        return 0.3 * torch.sin(x + c[:, :, None]) * (1 + t.reshape(-1, 1, 1) / 100)

    expected = Sequential(table).solve(network, condition, noise)
    solver = Picard(table, window, tolerance=0.0, split=split, extension=extension, anderson=anderson)
    solution = solver.solve(network, condition, noise)
    error = (solution.sample - expected.sample).abs().max()
    if split == "linear":
        assert error == 0  # its arithmetic is that of the sequential solver
    # Without clipping a prediction, and with it the rounding, grows by 1/√ᾱ.
    amplified = 1.0 if table.clip else float(table.alpha_bar.min() ** -0.5) * float(expected.sample.abs().max().clamp(min=1))
    assert error < (1e-5 if single else 1e-10) * amplified
    assert (solution.stats.rounds <= steps).all() and solution.stats.converged.all()
    assert (solution.stats.residual == 0).all()
    if window == 1:
        assert (solution.stats.evaluations == steps).all()


@pytest.mark.parametrize("options", [{}, {"split": "linear"}, {"anderson": 2}, {"split": "linear", "extension": "copy"}])
def test_variants_converge_to_the_same_sample(table, denoiser, draw, options):
    condition, noise = draw(range(32), table)
    expected = Sequential(table).solve(denoiser, condition, noise).sample
    solution = Picard(table, 20, tolerance=1e-3, **options).solve(denoiser, condition, noise)
    assert (solution.sample - expected).abs().amax((1, 2)).median() < 1e-3
    assert solution.stats.rounds.max() < table.steps


def test_the_linear_split_and_the_roll_save_rounds(table, denoiser, draw):
    condition, noise = draw(range(32), table)
    unit, copied, rolled = (
        Picard(table, 20, 0.1, **options).solve(denoiser, condition, noise).stats.rounds.double().mean()
        for options in ({}, {"split": "linear", "extension": "copy"}, {"split": "linear", "extension": "roll"})
    )
    assert rolled < copied < unit


@pytest.mark.parametrize("split", ["unit", "linear"])
def test_a_budget_of_rounds_is_kept_and_reported(table, denoiser, draw, split):
    condition, noise = draw(range(8), table)
    expected = Sequential(table).solve(denoiser, condition, noise).sample
    errors = []
    for budget in (5, 10, 15, 18, 20, 22, 25, 100):
        solution = Picard(table, 20, 0.01, split=split, max_rounds=budget).solve(denoiser, condition, noise)
        assert (solution.stats.rounds <= budget).all() and solution.sample.isfinite().all()
        out = solution.stats.status == Status.OUT_OF_BUDGET
        assert torch.equal(out, ~solution.stats.converged)
        errors.append((solution.sample - expected).abs().amax((1, 2)).median())
    assert not out.any() and errors[-1] < 1e-2
    # More rounds never make it much worse: what overshoots before it settles is not used.
    assert all(later < 1.5 * min(errors[: i + 1]) for i, later in enumerate(errors[1:]))
    few = Picard(table, 20, 0.01, split=split, max_rounds=5).solve(denoiser, condition, noise)
    assert not few.stats.converged.any()


def paradigms(bar, denoiser, condition, noise, window, tolerance):
    """Algorithm 1 of ParaDiGMS for DDPM and one environment, from ᾱ alone; the sample, rounds and evaluations."""
    steps, after = len(bar), torch.cat([bar[1:], bar.new_ones(1)])
    beta = 1 - bar / after
    deviation = (beta * (1 - after) / (1 - bar)).sqrt()
    unit = torch.where(deviation > 0, deviation, deviation[deviation > 0].min())
    unit = torch.cat([unit, unit[-1:]])
    size = noise.initial[0].numel()
    x = noise.initial.expand(steps + 1, -1, -1).clone()
    begin = rounds = evaluations = furthest = 0
    while begin < steps:
        end = min(begin + window, steps)
        x[furthest + 1 : end + 1] = x[furthest]
        k = torch.arange(begin, end)
        t = (steps - 1 - k).long()
        at, to = bar[k, None, None], after[k, None, None]
        epsilon = denoiser(x[begin:end], t, condition.expand(end - begin, -1))
        clean = ((x[begin:end] - (1 - at).sqrt() * epsilon) / at.sqrt()).clamp(-1, 1)
        part = beta[k, None, None] / (1 - at)
        following = to.sqrt() * part * clean + (at / to).sqrt() * (1 - to) / (1 - at) * x[begin:end]
        drift = following - x[begin:end] + deviation[k, None, None] * noise.steps[0, begin:end]
        new = x[begin] + drift.cumsum(0)
        change = (new - x[begin + 1 : end + 1]).square().sum((1, 2)) / size
        settled = (change <= tolerance**2 * unit[begin + 1 : end + 1].square()).long().cumprod(0).sum()
        x[begin + 1 : end + 1] = new
        rounds, evaluations, furthest = rounds + 1, evaluations + end - begin, end
        begin += min(int(settled) + 1, end - begin)
    return x[-1], rounds, evaluations


@pytest.mark.parametrize(("window", "tolerance"), [(20, 0.1), (7, 0.3), (100, 0.02)])
def test_paraddpm_is_algorithm_1_of_paradigms(table, denoiser, draw, window, tolerance):
    """One environment after another: equal rounds and evaluations, so that the same states count as converged."""
    condition, noise = draw(range(12), table)
    found = Picard(table, window, tolerance).solve(denoiser, condition, noise)
    for env in range(12):
        one = slice(env, env + 1)
        sample, rounds, evaluations = paradigms(table.alpha_bar, denoiser, condition[one], noise[one], window, tolerance)
        assert (found.stats.rounds[env], found.stats.evaluations[env]) == (rounds, evaluations)
        assert (found.sample[env] - sample).abs().max() < 1e-9
    # In another unit of convergence other states count as converged.
    shifted = Picard(replace(table, scale=table.scale.roll(1)), window, tolerance).solve(denoiser, condition, noise)
    assert not torch.equal(shifted.stats.evaluations, found.stats.evaluations)


def test_paraddpm_needs_a_quarter_of_the_rounds_and_stays_close(table, denoiser, draw):
    condition, noise = draw(range(64), table)
    expected = Sequential(table).solve(denoiser, condition, noise)
    solution = Picard(table, window=20, tolerance=0.1).solve(denoiser, condition, noise)
    assert 20 <= solution.stats.rounds.double().mean() <= 30
    assert 330 <= solution.stats.evaluations.double().mean() <= 460
    error = (solution.sample - expected.sample).abs().amax((1, 2))
    assert error.median() < 1e-2
    assert (solution.stats.residual <= 0.1).all() and (solution.stats.residual > 0).all()


def test_a_tighter_tolerance_takes_more_rounds_and_is_more_accurate(table, denoiser, draw):
    condition, noise = draw(range(32), table)
    expected = Sequential(table).solve(denoiser, condition, noise).sample
    results = [Picard(table, 20, tolerance).solve(denoiser, condition, noise) for tolerance in (1e-3, 1e-2, 1e-1, 1.0)]
    rounds = [r.stats.rounds.double().mean() for r in results]
    errors = [(r.sample - expected).abs().amax((1, 2)).median() for r in results]
    assert rounds == sorted(rounds, reverse=True) and len(set(rounds)) == 4
    assert errors == sorted(errors) and errors[0] < 1e-4


@pytest.mark.parametrize("tolerance", [0.0, 0.1])
@pytest.mark.parametrize("options", [{}, {"split": "linear"}, {"max_rounds": 12}, {"anderson": 2}])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_environments_are_independent_to_the_last_bit(table, denoiser, draw, assert_independent, tolerance, options, dtype):
    solver = Picard(table, window=20, tolerance=tolerance, **options)
    assert_independent(solver, denoiser, *draw(range(6), table, dtype))


def test_windows_advance_at_their_own_pace(table, denoiser, draw):
    """The cost of an environment does not depend on the slowest in its batch."""
    condition, noise = draw(range(64), table)
    stats = Picard(table, window=20, tolerance=0.3).solve(denoiser, condition, noise).stats
    assert stats.rounds.min() < stats.rounds.max()
    alone = [
        Picard(table, window=20, tolerance=0.3).solve(denoiser, condition[i : i + 1], noise[i : i + 1]).stats.rounds.item()
        for i in range(8)
    ]
    assert alone == stats.rounds[:8].tolist()


def test_the_network_is_called_once_per_round_with_the_active_rows_only(table, denoiser, draw):
    calls = []

    def counting(x, t, c):
        calls.append(len(x))
        return denoiser(x, t, c)

    condition, noise = draw(range(3), table)
    stats = Picard(table, window=20, tolerance=0.1).solve(counting, condition, noise).stats
    assert len(calls) == stats.rounds.max() and sum(calls) == stats.evaluations.sum()
    assert max(calls) == 3 * 20 and calls[-1] < 20


def test_a_row_that_is_not_finite_stays_in_its_environment(table, denoiser, draw):
    def poisoned(x, t, c):
        prediction = denoiser(x, t, c)
        prediction[(c[:, 0] > 5) & (t < 50)] = torch.nan
        return prediction

    condition, noise = draw(range(3), table)
    clean = Picard(table).solve(denoiser, condition, noise)
    condition[1, 0] = 9
    for solver in (Picard(table), Picard(table, split="linear", anderson=2), Sequential(table), Speculative(table)):
        solution = solver.solve(poisoned, condition, noise)
        assert solution.stats.status.tolist() == [Status.CONVERGED, Status.NOT_FINITE, Status.CONVERGED]
        assert solution.stats.broken.tolist() == [-1, 50, -1]  # step 50 is at timestep 49
        assert (solution.stats.rounds <= table.steps).all()
        if solver == Picard(table):
            assert torch.equal(solution.sample[[0, 2]], clean.sample[[0, 2]])


@pytest.mark.parametrize("solver", [Sequential, Picard, Speculative])
def test_a_wrong_shape_from_the_network_is_refused(table, draw, solver):
    condition, noise = draw([0], table)
    with pytest.raises(ValueError, match=r"shape \(.*, 4, 1\) for samples of shape \(.*, 4, 2\) at timesteps 99"):
        solver(table).solve(lambda x, t, c: x[..., :1], condition, noise)


@pytest.mark.parametrize("solver", [Sequential, Picard, Speculative])
def test_inputs_of_different_batches_are_refused(table, denoiser, draw, solver):
    condition, noise = draw(range(2), table)
    short = NoisePath(noise.initial, noise.steps[:, :50], noise.uniforms[:, :50])
    with pytest.raises(ValueError, match="the noise path has 50 steps, the table 100"):
        solver(table).solve(denoiser, condition, short)
    with pytest.raises(ValueError, match="3 conditions and noise for 2 environments"):
        solver(table).solve(denoiser, torch.zeros(3, 3), noise)
    with pytest.raises(ValueError, match=r"returned torch.float32 for samples of torch.float64 at timesteps 99"):
        solver(table).solve(lambda x, t, c: x.float(), condition, noise)
    with pytest.raises(ValueError, match="returned a NoneType and not a tensor"):
        solver(table).solve(lambda x, t, c: None, condition, noise)


@pytest.mark.parametrize("solver", [Sequential, Picard, Speculative])
def test_an_infinite_prediction_is_not_hidden_by_clipping(table, denoiser, draw, solver):
    condition, noise = draw(range(2), table)

    def infinite(x, t, c):
        return torch.where((t == 30)[:, None, None], torch.inf, denoiser(x, t, c))

    solution = solver(table).solve(infinite, condition, noise)
    assert solution.stats.status.tolist() == [Status.NOT_FINITE] * 2 and solution.stats.broken.tolist() == [69] * 2


@pytest.mark.parametrize("options", [{"window": 0}, {"tolerance": -0.1}, {"tolerance": float("nan")}])
def test_options_out_of_range_are_refused(table, options):
    with pytest.raises(ValueError, match=next(iter(options))):
        Picard(table, **options)

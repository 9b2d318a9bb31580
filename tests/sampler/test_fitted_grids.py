"""Fitted grids: the cost is the stated divergence, and no other grid with as many steps has a lower cost."""

from dataclasses import replace
from itertools import combinations, pairwise

import numpy as np
import pytest
import torch
from diffusers import DPMSolverMultistepScheduler
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from paradp.sampler import NoisePath, SamplerChoice, mixture_denoiser, step_table
from paradp.sampler.fitted_grids import (
    best_grids,
    grid_cost,
    mean_distances,
    record_predictions,
    step_costs,
    step_weights,
)
from paradp.sampler.schedules import ddpm_table
from paradp.sampler.schedules.grids import sine_grid


@st.composite
def cost_matrices(draw):
    steps = draw(st.integers(1, 7))
    values = draw(arrays(float, (steps + 1, steps + 1), elements=st.floats(0, 100)))
    return np.where(np.arange(steps + 1)[:, None] < np.arange(steps + 1), values, np.inf)


@settings(max_examples=200)
@given(cost_matrices())
def test_no_grid_with_as_many_steps_costs_less(costs):
    """Compared with all grids of this length."""
    steps = len(costs) - 1
    for count, grid in enumerate(best_grids(costs, steps), start=1):
        every = ([0, *rest] for rest in combinations(range(1, steps), count - 1))
        assert len(grid) == count and grid[0] == 0 and grid == sorted({*grid})
        assert grid_cost(costs, grid) == pytest.approx(min(grid_cost(costs, other) for other in every))


def test_a_grid_of_all_steps_costs_nothing_and_more_steps_are_refused():
    distances = (np.arange(6)[:, None] - np.arange(6)) ** 2.0
    costs = step_costs(distances, np.ones(6))
    assert best_grids(costs, 6)[-1] == list(range(6)) and grid_cost(costs, range(6)) == 0
    for most in (0, 7):
        with pytest.raises(ValueError, match=f"1 to 6 of the 6 steps can be chosen, not of {most}"):
            best_grids(costs, most)


@pytest.mark.parametrize(("first", "last"), [(0, 40), (40, 93), (93, 99), (80, 100)])
def test_a_coarse_step_equals_fine_steps_with_a_constant_prediction(table, first, last):
    """One step of the coarse table and the composed fine steps have equal coefficients of the mean and equal variance."""
    bar = table.alpha_bar
    a, c, variance = 1.0, 0.0, 0.0
    for k in range(first, last):
        a, c, variance = (
            table.a[k] * a,
            table.a[k] * c + table.c[k],
            table.a[k] ** 2 * variance + table.sigma[k] ** 2,
        )
    timesteps = table.timesteps[[first, last] if last < 100 else [first]].tolist()
    coarse = ddpm_table(
        {"_class_name": "DDPMScheduler", "num_train_timesteps": 100, "beta_schedule": "squaredcos_cap_v2",
         "prediction_type": "epsilon", "clip_sample": True},
        timesteps=timesteps,
    )  # fmt: skip
    assert coarse.alpha_bar[0] == bar[first]
    torch.testing.assert_close(torch.stack([a, c]), torch.stack([coarse.a[0], coarse.c[0]]))
    torch.testing.assert_close(variance, coarse.sigma[0] ** 2)


def drawn(table, count=400):
    noise = NoisePath.draw(
        [torch.Generator().manual_seed(i) for i in range(count)], table.steps, (4, 2), dtype=torch.float64
    )
    return torch.zeros(count, 3, dtype=torch.float64), noise


def divergence_of_paths(table, denoiser, grid, condition, noise):
    """log p(path) − log q(path), `[B]`, without the last step: p is the fine chain, q holds the grid's predictions."""
    x, held, ratio = noise.initial.flatten(1), None, 0.0
    for k in range(table.steps - 1):
        t = table.timesteps[k].expand(len(x))
        step = table.at(torch.tensor(k))
        clean = step.clean(x, denoiser(x.reshape(noise.initial.shape), t, condition).flatten(1))
        held = clean if k in grid else held
        mean, other = (step.mean(x, prediction, None) for prediction in (clean, held))
        x = mean + step.sigma * noise.steps[:, k].flatten(1)
        ratio = ratio + ((x - other).square().sum(1) - (x - mean).square().sum(1)) / (2 * table.sigma[k] ** 2)
    return ratio


def test_the_cost_equals_the_divergence_of_the_paths(table):
    denoiser = mixture_denoiser(table)
    condition, noise = drawn(table)
    predictions = record_predictions(table, denoiser, condition, noise)
    assert predictions.shape == (100, 400, 8) and predictions.abs().max() <= 1
    weights = step_weights(table)
    weights[-1] = 0  # the last step's noise is a convention, not the chain's
    costs = step_costs(mean_distances(predictions), weights)
    fitted, wrong = (best_grids(c, 12)[-1] for c in (costs, step_costs(mean_distances(predictions), weights[::-1])))
    even = list(range(0, 100, 9))
    for grid in (fitted, even):
        ratio = divergence_of_paths(table, denoiser, grid, *drawn(table))
        expected = grid_cost(costs, grid)
        # The ratio's noise has mean 0 and variance twice the cost.
        assert float(ratio.mean()) == pytest.approx(expected, abs=4 * (2 * expected / 400) ** 0.5)
    assert grid_cost(costs, fitted) < 0.5 * grid_cost(costs, even)
    # A planted fault, the weights in the wrong order, is found.
    assert grid_cost(costs, wrong) > 1.5 * grid_cost(costs, fitted)


def test_predictions_equal_those_of_the_sequential_solver(table):
    """They would differ with the coefficients of another step, or without clipping."""
    denoiser = mixture_denoiser(table)
    condition, noise = drawn(table, 3)
    predictions = record_predictions(table, denoiser, condition, noise)
    x = noise.initial.flatten(1)
    for k in range(table.steps):
        prediction = denoiser(x.reshape(noise.initial.shape), table.timesteps[k].expand(3), condition).flatten(1)
        clean = table.bound(table.from_state[k] * x + table.from_prediction[k] * prediction)
        torch.testing.assert_close(predictions[k], clean)
        x = table.a[k] * x + table.c[k] * clean + table.sigma[k] * noise.steps[:, k].flatten(1)


def test_the_last_step_is_weighed_as_if_it_added_the_noise_of_the_one_before(table):
    weights = step_weights(table)
    assert np.isfinite(weights).all() and weights[:-1] == pytest.approx((0.5 * (table.c / table.sigma) ** 2)[:-1].numpy())
    assert weights[-1] == pytest.approx(float(0.5 * (table.c[-1] / table.sigma[-2]) ** 2))


def test_distances_are_means_over_trajectories():
    predictions = torch.randn(5, 7, 3, generator=torch.Generator().manual_seed(0))
    expected = torch.cdist(predictions.transpose(0, 1), predictions.transpose(0, 1)).square().mean(0)
    assert mean_distances(predictions) == pytest.approx(expected.numpy(), abs=1e-5)


def test_a_grid_has_a_name(config):
    steps = best_grids(step_costs((np.arange(100)[:, None] - np.arange(100)) ** 2.0, np.ones(100)), 5)[-1]
    table = step_table(config, timesteps=[99 - step for step in steps])
    assert table.steps == 5 and replace(table).timesteps[0] == 99


@pytest.mark.parametrize("trained", [1, 2, 10, 100, 1000])
def test_the_sine_grid_has_both_ends_and_no_timestep_twice(trained):
    for steps in range(1, min(trained, 120) + 1):
        grid = sine_grid(steps, trained)
        assert len(grid) == steps and grid[0] == trained - 1 and (steps == 1 or grid[-1] == 0)
        assert all(later < earlier for earlier, later in pairwise(grid))


def test_the_sine_grid_begins_where_that_of_diffusers_does():
    """Above `lambda_min_clipped`, where DPM-Solver's first step would be from almost pure noise."""
    config = {"_class_name": "DPMSolverMultistepScheduler", "beta_schedule": "squaredcos_cap_v2", "lambda_min_clipped": -5.1}
    scheduler = DPMSolverMultistepScheduler.from_config(config)
    scheduler.set_timesteps(20)
    begins = int(scheduler.timesteps[0])
    assert begins < 999
    assert step_table(config, 20, spacing="sine").timesteps.tolist() == sine_grid(20, begins + 1)
    assert len(step_table(config, begins + 1, spacing="sine").timesteps) == begins + 1
    with pytest.raises(ValueError, match=f"1000 steps are too many for the {begins + 1} timesteps above lambda_min_clipped"):
        step_table(config, 1000, spacing="sine")


def test_the_sine_grid_has_a_name_and_is_denser_at_the_end(config):
    for family in ("ddpm", "speculative-ddpm", "sde-dpm-solver", "ddim"):
        choice = SamplerChoice.parse(f"{family}-16:spacing=sine")
        assert choice.build(config).table.timesteps.tolist() == sine_grid(16, 100)
        assert str(choice.sequential).endswith("-16:spacing=sine")
    assert sine_grid(16, 100) == [99, 97, 91, 81, 69, 56, 42, 30, 20, 12, 6, 4, 3, 2, 1, 0]

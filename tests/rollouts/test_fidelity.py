"""Fidelity is measured at the stated observations, and distinguishes plans that differ from plans that do not."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from vectors import joined, parted

from paradp.policy import DiffusionPolicy
from paradp.policy.observations import blank, how_many, take
from paradp.rollouts.evaluation import fidelity, plans
from paradp.rollouts.evaluation.fidelity import (
    Observations,
    compare,
    fit_grids,
    fit_noise,
    fitted_name,
    measure_steps,
    recorded_observations,
    rows_of,
)
from paradp.rollouts.evaluation.plans import Drawn, draw_plans
from paradp.sampler import SamplerChoice


@pytest.fixture
def policy(trained) -> DiffusionPolicy:
    solver = SamplerChoice.parse("ddpm").build(trained.spec.schedule)
    return DiffusionPolicy(trained.spec, trained.network, trained.observation_normalizer, trained.action_normalizer, solver)


def test_recorded_observations_include_the_steps_before_them(demonstrations, spec):
    seen = recorded_observations(demonstrations, spec, 30, seed=0)
    assert joined(seen.judging).shape == (30, 2, 3) and joined(seen.fitting).shape == (15, 2, 3)
    recorded, ends = joined(demonstrations.observations()), demonstrations.episode_ends
    starts = {0, *ends[:-1].tolist()}
    together = np.concatenate([joined(seen.fitting), joined(seen.judging)])
    for before, now in together:
        steps = (recorded == now).all(1).nonzero()[0]  # every episode ends at the origin
        assert any((before == recorded[step if step in starts else step - 1]).all() for step in steps)
    assert len(np.unique(together.reshape(45, -1), axis=0)) == 45
    # At the start of an episode the first observation is repeated.
    assert any((before == now).all() for before, now in together)


def test_demonstrations_of_another_observation_are_refused(demonstrations, spec):
    with pytest.raises(ValueError, match="holds demonstrations of 'reach', and the policy is for 'lift'"):
        recorded_observations(demonstrations, replace(spec, task="lift"), 8, 0)
    swapped = recorded_observations(demonstrations, replace(spec, observation={"constant": 1, "position": 2}), 8, 0)
    assert list(swapped.judging) == ["constant", "position"]  # taken by name
    other = replace(spec, observation={"constant": 1, "position": 3})
    with pytest.raises(ValueError, match=r"observes position \(2\), constant \(1\), and the policy constant \(1\)"):
        recorded_observations(demonstrations, other, 8, 0)
    with pytest.raises(ValueError, match="75 steps; 90 observations are needed"):
        recorded_observations(demonstrations, spec, 60, 0)


def test_steps_are_measured_and_rows_counted(policy, monkeypatch):
    monkeypatch.setattr(fidelity, "TRAJECTORIES", 2)
    monkeypatch.setattr(plans, "ROWS", 10)
    rng = np.random.default_rng(0)
    drawn = (parted(policy.spec, rng.normal(size=(count, 2, 3)).astype(np.float32)) for count in (2, 3))
    seen = Observations(*drawn)
    rows = []
    grids = fit_grids(policy, seen.fitting, 8, 0, rows.append)
    assert [len(grid) for grid in grids] == list(range(1, 9)) and all(grid[0] == 99 for grid in grids)
    names = [fitted_name("ddpm", grids[7]), "ddim-5"]
    measured = measure_steps(policy, names, seen.judging, 8, 0, rows.append)
    assert list(measured) == names and sum(rows) == rows_of(seen, names, 8, 100)
    for one in measured.values():
        assert one.energy.low <= one.energy.value <= one.energy.high and 0 < one.p_value <= 1


def test_fitting_and_judging_use_different_noise(policy, monkeypatch):
    monkeypatch.setattr(fidelity, "TRAJECTORIES", 2)
    monkeypatch.setattr(fidelity, "ETAS", (0.5, 1.0))
    seeds, draw = [], plans.noise_generator
    monkeypatch.setattr(plans, "noise_generator", lambda seed: seeds.append(seed) or draw(seed))
    histories = parted(policy.spec, np.random.default_rng(0).normal(size=(2, 2, 3)).astype(np.float32))
    used = []
    for run in (
        lambda: fit_grids(policy, histories, 2, 7, lambda rows: None),
        lambda: fit_noise(policy, histories, (2,), 8, 7, lambda rows: None),
        lambda: measure_steps(policy, ["ddim-2"], histories, 8, 7, lambda rows: None),
    ):
        seeds.clear()
        run()
        used.append({*seeds})
    grids, noise, judged = used
    assert grids and noise and judged and not (grids & judged or noise & judged or grids & noise)


def test_the_noise_of_a_few_steps_is_fitted_and_rows_are_counted(policy, monkeypatch):
    monkeypatch.setattr(fidelity, "TRAJECTORIES", 2)
    monkeypatch.setattr(fidelity, "ETAS", (0.5, 1.0, 2.5))
    rng = np.random.default_rng(0)
    drawn = (parted(policy.spec, rng.normal(size=(count, 2, 3)).astype(np.float32)) for count in (2, 3))
    seen = Observations(*drawn)
    rows = []
    fit_grids(policy, seen.fitting, 2, 0, rows.append)
    found = fit_noise(policy, seen.fitting, (2, 3), 8, 0, rows.append)
    measure_steps(policy, found, seen.judging, 8, 0, rows.append)
    assert sum(rows) == rows_of(seen, found, 8, 100, (2, 3))
    assert [SamplerChoice.parse(name).steps for name in found] == [2, 3]
    # It is the one that comes nearest to DDPM's plans, whichever that is.
    monkeypatch.setattr(fidelity, "draw_plans", like_ddpm_with_eta(2.5))
    assert fit_noise(policy, seen.fitting, (2,), 32, 0, rows.append) == ["sde-dpm-solver-2:eta=2.5:spacing=sine"]
    monkeypatch.setattr(fidelity, "draw_plans", like_ddpm_with_eta(1.0))
    assert fit_noise(policy, seen.fitting, (2,), 32, 0, rows.append) == ["sde-dpm-solver-2:spacing=sine"]


def like_ddpm_with_eta(best):
    """A `draw_plans` with standard normal plans for DDPM and one η, and too wide or too narrow plans for others."""

    def drawn(policy, sampler, histories, plans, first_seed, report):
        eta = dict(SamplerChoice.parse(sampler).options).get("eta", 1.0)
        width = 1.0 if sampler == "ddpm" else 1.0 + (best - eta) / 2
        chunks = np.random.default_rng(first_seed).normal(size=(how_many(histories), plans, 6))
        return Drawn(width * chunks, 0.0, 0.0)

    return drawn


def test_no_two_plans_have_the_same_noise(policy):
    histories = blank(policy.spec, 2, 2)
    drawn = draw_plans(policy, "ddim-5", histories, 4, first_seed=7)
    flat = drawn.chunks.reshape(8, -1)
    assert len(np.unique(flat.round(4), axis=0)) == 8
    assert draw_plans(policy, "ddim-5", take(histories, slice(1)), 4, first_seed=11).chunks[0] == pytest.approx(
        flat[4:], abs=1e-4
    )
    assert drawn.rounds == drawn.evaluations == 5


def test_different_plans_are_detected_and_equal_ones_are_not():
    rng = np.random.default_rng(1)
    draws = [rng.normal(size=(12, 16, 6)) for _ in range(2)]
    same, narrow = compare(draws[0], draws[1]), compare(0.5 * draws[0], draws[1])
    assert abs(same.energy.value) < 0.02 and same.p_value > 0.01 and same.spread.low < 1 < same.spread.high
    assert narrow.energy.value > 0.03 and narrow.p_value < 0.01 and narrow.spread.value == pytest.approx(0.5, abs=0.1)


def test_grids_do_not_depend_on_threads_or_batches(policy, monkeypatch):
    histories = parted(policy.spec, np.random.default_rng(0).normal(size=(3, 2, 3)).astype(np.float32))
    monkeypatch.setattr(fidelity, "TRAJECTORIES", 2)
    grids = []
    for rows in (3, 64):
        monkeypatch.setattr(plans, "ROWS", rows)
        grids.append(fit_grids(policy, histories, 6, 5, lambda rows: None))
    assert grids[0] == grids[1] and torch.is_grad_enabled()

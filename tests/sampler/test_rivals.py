"""Consistency models and flows: their tables equal diffusers' own schedulers and plain loops, in parallel too."""

import copy
import itertools
from itertools import pairwise
from unittest import mock

import numpy as np
import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler, LCMScheduler

from paradp.sampler import NoisePath, Picard, SamplerChoice, Sequential, step_table
from paradp.sampler.rounds.backends import only
from paradp.sampler.schedules.consistency import boundary
from paradp.sampler.schedules.trajectories import ddim_trajectories, follow

DISTILLED = {"_class_name": "LCMScheduler", "num_train_timesteps": 100, "beta_schedule": "squaredcos_cap_v2"}
FLOW = {"_class_name": "FlowMatchEulerDiscreteScheduler", "num_train_timesteps": 100}
DRAWN = "diffusers.schedulers.scheduling_lcm.randn_tensor"


def network(x, t, condition):
    """A smooth function as network."""
    return 0.5 * torch.tanh(x * (1 + t.reshape(-1, 1, 1) / 100) + condition[:, :1, None])


def paths(steps):
    generators = [torch.Generator().manual_seed(s) for s in range(3)]
    condition = torch.linspace(-1, 1, 6, dtype=torch.float64).reshape(3, 2)
    return condition, NoisePath.draw(generators, steps, (4, 2), dtype=torch.float64)


@pytest.mark.parametrize("grid", [[99], [99, 49], [99, 74, 49, 24], [90, 60, 7, 1, 0]])
@pytest.mark.parametrize("prediction", ["epsilon", "sample", "v_prediction"])
def test_consistency_sampling_equals_diffusers(grid, prediction):
    for clip in ({"clip_sample": True}, {"clip_sample": True, "clip_sample_range": 0.3}, {"clip_sample": False}):
        config = {**DISTILLED, "prediction_type": prediction, **clip}
        scheduler = LCMScheduler.from_config(config)
        scheduler.alphas_cumprod = scheduler.alphas_cumprod.double()
        scheduler.set_timesteps(timesteps=grid)
        condition, noise = paths(len(grid))
        x = noise.initial
        for k, t in enumerate(scheduler.timesteps):
            with mock.patch(DRAWN, lambda *_, drawn=noise.steps[:, k], **__: drawn):
                x = scheduler.step(network(x, t.expand(len(x)), condition), t, x).prev_sample
        table = step_table(config, timesteps=grid)
        sample = Sequential(table).solve(network, condition, noise).sample
        # diffusers computes c_skip and c_out in float32.
        assert (sample - x).abs().max() < 2e-7 * x.abs().max()


def test_consistency_sampling_equals_a_direct_loop():
    """x' = √ᾱ' f + √(1−ᾱ') ξ: the new state depends on the old one only through the prediction."""
    table = SamplerChoice.parse("consistency-4").build({**DISTILLED, "prediction_type": "sample"}).table
    bar = step_table({**DISTILLED, "_class_name": "DDPMScheduler"}).alpha_bar.flip(0)
    assert table.timesteps.tolist() == [99, 74, 49, 24] and table.steps == 4
    condition, noise = paths(4)
    x = noise.initial
    for k, t in enumerate(grid := table.timesteps.tolist()):
        f = network(x, torch.full((3,), t), condition)
        x = f if k == 3 else bar[grid[k + 1]].sqrt() * f + (1 - bar[grid[k + 1]]).sqrt() * noise.steps[:, k]
    # c_skip of these timesteps is below 1e-5.
    assert (Sequential(table).solve(network, condition, noise).sample - x).abs().max() < 1e-4
    assert (table.a < 1e-5).all() and table.sigma[-1] == 0 and (table.sigma[:-1] > 0).all()


@pytest.mark.parametrize("steps", [1, 2, 4, 10, 100])
def test_a_flow_equals_diffusers_and_a_direct_loop(steps):
    condition, noise = paths(steps)
    scheduler = FlowMatchEulerDiscreteScheduler.from_config(FLOW)
    times = [1 - k / steps for k in range(steps + 1)]
    scheduler.set_timesteps(sigmas=times[:-1])
    x, theirs = noise.initial, noise.initial.float()
    for (now, after), t in zip(pairwise(times), scheduler.timesteps, strict=True):
        x = x + (after - now) * network(x, torch.full((3,), round(100 * now)), condition)
        velocity = network(theirs, t.expand(3), condition.float())
        theirs = scheduler.step(velocity, t, theirs).prev_sample
    table = SamplerChoice.parse(f"flow-{steps}").build(FLOW).table
    assert table.timesteps.tolist() == [round(100 * time) for time in times[:-1]]
    sample = Sequential(table).solve(network, condition, noise).sample
    assert (sample - x).abs().max() < 1e-12 and (sample - theirs).abs().max() < 1e-5


def test_a_flow_takes_the_grid_of_a_scheduler():
    scheduler = FlowMatchEulerDiscreteScheduler.from_config(FLOW)
    scheduler.set_timesteps(sigmas=[1.0, 0.7, 0.25])
    assert step_table(scheduler).timesteps.tolist() == [100, 70, 25]
    scheduler.set_timesteps(10)  # from 100 to 1, by 11: diffusers' own
    table, (condition, noise) = step_table(scheduler), paths(10)
    x = noise.initial.float()
    for t in scheduler.timesteps:
        x = scheduler.step(network(x, t.expand(3), condition.float()), t, x).prev_sample
    assert (Sequential(table).solve(network, condition, noise).sample - x).abs().max() < 1e-5
    scheduler.set_timesteps(7)  # 100, 83.5, …
    assert_equal_to_diffusers(step_table(scheduler), scheduler)


def assert_equal_to_diffusers(table, scheduler):
    """Sequentially and in parallel: to 1e-10 at diffusers' sigmas, and to rounding with its own steps in float32."""
    scheduler = copy.copy(scheduler)  # it counts its steps
    sigmas = scheduler.sigmas.double()
    assert table.timesteps.dtype == torch.float64 and torch.equal(table.timesteps, scheduler.timesteps.double())
    assert torch.equal(-table.from_prediction, sigmas[:-1])
    condition, noise = paths(table.steps)
    x, theirs = noise.initial, noise.initial.float()
    for (now, after), t in zip(pairwise(sigmas), scheduler.timesteps, strict=True):
        x = x + (after - now) * network(x, t.double().expand(3), condition)
        theirs = scheduler.step(network(theirs, t.expand(3), condition.float()), t, theirs).prev_sample
    ways = Sequential(table), Picard(table, 4, 0.0), Picard(table, 4, 0.0, split="linear"), Picard(table, 4, 0.0, anderson=2)
    for solver, backend in itertools.product(ways, ("numba", "torch")):
        with only(backend, "torch"):
            sample = solver.solve(network, condition, noise).sample
        assert (sample - x).abs().max() < 1e-10 and (sample - theirs).abs().max() < 1e-5


@pytest.mark.parametrize("steps", [2, 7, 10, 60])
# At 2.241 and 0.08 rounding puts diffusers' first sigma beyond 1.
@pytest.mark.parametrize("shift", [0.08, 0.5, 2.241, 3.0, 6])
def test_a_shifted_flow_equals_diffusers(shift, steps):
    config = {**FLOW, "shift": shift}
    scheduler = FlowMatchEulerDiscreteScheduler.from_config(config)
    assert torch.equal(step_table(scheduler).timesteps, scheduler.timesteps.double())
    scheduler.set_timesteps(steps)
    by_name = SamplerChoice.parse(f"flow-{steps}").build(config).table
    assert_equal_to_diffusers(by_name, scheduler)
    for other in (step_table(config, steps), step_table(scheduler, steps), step_table(scheduler)):
        assert torch.equal(other.columns, by_name.columns) and torch.equal(other.timesteps, by_name.timesteps)


def test_a_step_of_a_shifted_flow_equals_one_without_shift():
    table = step_table({**FLOW, "shift": 3.0}, 1)
    assert torch.equal(table.columns, step_table(FLOW, 1).columns) and table.timesteps.dtype == torch.int64


def test_a_flow_uses_the_shift_of_the_scheduler():
    scheduler = FlowMatchEulerDiscreteScheduler.from_config(FLOW)
    scheduler.set_shift(3.0)
    assert torch.equal(step_table(scheduler).columns, step_table(FLOW).columns)
    by_steps = step_table(scheduler, 6)
    scheduler.set_timesteps(6)
    for table in (by_steps, step_table(scheduler)):
        assert_equal_to_diffusers(table, scheduler)


@pytest.mark.parametrize("shift", [1.0, 3.0])
def test_a_flow_uses_separately_set_sigmas_and_timesteps(shift):
    scheduler = FlowMatchEulerDiscreteScheduler.from_config({**FLOW, "shift": shift})
    scheduler.set_timesteps(sigmas=[0.9, 0.5, 0.2], timesteps=[95.5, 40, 10])
    assert_equal_to_diffusers(step_table(scheduler), scheduler)
    scheduler.set_timesteps(sigmas=[0.9, 0.5, 0.2], timesteps=[95, 40, 10])
    table = step_table(scheduler)
    assert table.timesteps.dtype == torch.int64 and table.timesteps.tolist() == [95, 40, 10]
    assert torch.equal(-table.from_prediction, scheduler.sigmas[:-1].double())


def test_a_flow_steps_along_any_grid_of_times():
    grid = [100, 62.5, np.float32(33.25), torch.tensor(0.125)]
    for shift in (1.0, 3.0):  # no shift is applied to a grid that is given
        table = step_table({**FLOW, "shift": shift}, timesteps=grid)
        assert table.timesteps.tolist() == [100, 62.5, 33.25, 0.125]
        condition, noise = paths(4)
        x = noise.initial
        for now, after in pairwise([*table.timesteps, torch.tensor(0.0)]):
            x = x + (after - now) / 100 * network(x, now.expand(3), condition)
        assert (Sequential(table).solve(network, condition, noise).sample - x).abs().max() < 1e-12
    whole = step_table(FLOW, timesteps=[100.0, 50, np.float64(7)])
    assert whole.timesteps.dtype == torch.int64 and torch.equal(
        whole.columns, step_table(FLOW, timesteps=[100, 50, 7]).columns
    )


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"timesteps": [50, 62.5]}, r"timesteps must decrease, but step 1 goes from 50\.0 to 62\.5"),
        ({"timesteps": [50.5, 50.5]}, "timesteps must decrease"),
        ({"timesteps": [100.5, 50]}, r"step 0 is at timestep 100\.5: it must be above 0 and at most 100"),
        ({"timesteps": [100, 0]}, "step 1 is at timestep 0: it must be above 0"),
        ({"timesteps": [100, float("nan")]}, "step 1 is at timestep nan"),
        ({"timesteps": [float("inf"), 2]}, "step 0 is at timestep inf"),
        ({"timesteps": [True]}, "a timestep must be a number, not True"),
        ({"timesteps": ["100"]}, "a timestep must be a number, not '100'"),
        ({"timesteps": []}, "the schedule has no timesteps"),
        ({"timesteps": [100, 50.5], "steps": 2}, "steps and timesteps cannot both be given"),
        ({"timesteps": [100, 50.5], "sigmas": [1, 1]}, "sigmas must decrease"),
        ({"timesteps": [100, 50.5], "sigmas": [1.1, 0.5]}, r"step 0 is at sigma 1\.1: it must be above 0 and at most 1"),
        ({"timesteps": [100, 50.5], "sigmas": [1]}, "there are 1 sigmas for 2 timesteps"),
        ({"sigmas": [1, 0.5]}, "sigmas need timesteps"),
    ],
    ids=str,
)
def test_invalid_grids_of_a_flow_are_refused(given, message):
    with pytest.raises(ValueError, match=message):
        step_table(FLOW, **given)


def test_a_diffusion_model_gets_integer_timesteps_only():
    with pytest.raises(ValueError, match=r"a timestep must be a whole number, not 62\.5"):
        step_table({**DISTILLED, "_class_name": "DDPMScheduler"}, timesteps=[99, 62.5])


@pytest.mark.parametrize(("dtype", "given"), [(torch.float64, torch.float64), (torch.bfloat16, torch.float32)])
def test_fractional_timesteps_are_not_rounded_to_the_type_of_samples(dtype, given):
    seen = []

    def denoiser(x, t, condition):
        seen.append(t.clone())
        return x

    table = step_table({**FLOW, "num_train_timesteps": 1000, "shift": 3.0}, 5)
    noise = NoisePath.draw([torch.Generator().manual_seed(0)], 5, (2, 2), dtype=dtype)
    for solver in (Sequential(table), Picard(table, 3, 0.0)):
        seen.clear()
        solver.solve(denoiser, torch.zeros(1, 1), noise)
        assert {t.dtype for t in seen} == {given} and torch.equal(torch.cat(seen).double().unique(), table.timesteps.flip(0))


@pytest.mark.parametrize(
    "setting",
    [
        {"shift": 0.0},
        {"shift": -3.0},
        {"shift": float("nan")},
        {"shift": "3"},
        {"shift_terminal": 0.1},
        {"invert_sigmas": True},
        {"use_karras_sigmas": True},
        {"use_exponential_sigmas": True},
        {"use_beta_sigmas": True},
        {"use_dynamic_shifting": True},
        {"stochastic_sampling": True},
    ],
    ids=str,
)
def test_settings_of_flows_that_are_not_supported_are_refused(setting):
    with pytest.raises(ValueError, match=f"^{next(iter(setting))} = "):
        step_table({**FLOW, **setting}, 5)


@pytest.mark.parametrize(
    ("name", "config"), [("consistency-8", {**DISTILLED, "prediction_type": "sample"}), ("flow-10", FLOW)]
)
def test_parallel_iteration_converges_to_the_sequential_sample(name, config):
    table = SamplerChoice.parse(name).build(config).table
    condition, noise = paths(table.steps)
    expected = Sequential(table).solve(network, condition, noise).sample
    for split in ("unit", "linear"):
        found = Picard(table, window=4, tolerance=0.0, split=split).solve(network, condition, noise)
        assert (found.sample - expected).abs().max() < 1e-10 and (found.stats.rounds <= table.steps).all()


def test_scales_of_a_flow_equal_ddpms_in_its_units():
    """At one ratio of signal to noise; a state of the flow is √((1−τ)² + τ²) times one of diffusion."""
    table = step_table(FLOW, timesteps=[80, 50, 20])
    time, after = torch.tensor([0.8, 0.5, 0.2]).double(), torch.tensor([0.5, 0.2]).double()
    bar = (1 - time) ** 2 / ((1 - time) ** 2 + time**2)
    assert torch.allclose(table.alpha_bar, bar)
    posterior = ((1 - bar[:2] / bar[1:]) * (1 - bar[1:]) / (1 - bar[:2])).sqrt() * ((1 - after) ** 2 + after**2).sqrt()
    assert torch.allclose(table.scale[:2], posterior) and (table.scale > 0).all()


@pytest.mark.parametrize("to_one", [True, False])
@pytest.mark.parametrize("clip", [True, False])
def test_trajectories_equal_ddim_from_each_timestep(clip, to_one):
    config = {**DISTILLED, "_class_name": "DDIMScheduler", "clip_sample": clip, "set_alpha_to_one": to_one}
    tables = ddim_trajectories(config, 6)
    grid = SamplerChoice.parse("ddim-6:spacing=sine").build(config).table.timesteps.tolist()
    for t in (99, 98, grid[1] + 1, grid[1], 40, 7, 1, 0):
        visited = [t, *(at for at in grid if at < t)]
        condition, path = paths(len(visited))
        ends = follow(tables, network, path.initial, torch.tensor([t] * 3), condition)
        solver = SamplerChoice.parse(f"ddim-{len(visited)}:timesteps={'-'.join(map(str, visited))}").build(config)
        assert torch.allclose(ends, solver.solve(network, condition, path).sample, atol=1e-12), t


def test_a_jump_from_the_data_has_no_effect():
    skip, out = boundary({**DISTILLED, "prediction_type": "sample"})
    assert (skip[0], out[0]) == (1, 0) and (skip[1:] < 3e-3).all() and (out[1:] > 0.99).all()

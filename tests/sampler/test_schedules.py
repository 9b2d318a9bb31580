"""Sequential sampling with our tables equals diffusers' own schedulers, for all that both support."""

from itertools import pairwise, product
from unittest import mock

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler, DPMSolverMultistepScheduler

from paradp.sampler import NoisePath, SamplerChoice, Sequential, step_table

SHAPE = (4, 2)
BETAS = ("linear", "scaled_linear", "squaredcos_cap_v2")  # diffusers' DDPM knows "sigmoid" as well
PREDICTIONS = ("epsilon", "sample", "v_prediction")
CLIPS = ({"clip_sample": True}, {"clip_sample": True, "clip_sample_range": 2.0}, {"clip_sample": False})


def network(x, t, condition):
    """A smooth function as network."""
    return 0.5 * torch.tanh(x * (1 + t.reshape(-1, 1, 1) / 100) + condition[:, :1, None])


def paths(steps):
    generators = [torch.Generator().manual_seed(s) for s in range(3)]
    return torch.linspace(-1, 1, 6, dtype=torch.float64).reshape(3, 2), NoisePath.draw(
        generators, steps, SHAPE, dtype=torch.float64
    )


def in_double(scheduler):
    """diffusers computes coefficients in float32, where β = 1 − ᾱ/ᾱ' loses up to four digits: compare with exact ones."""
    scheduler.alphas_cumprod = scheduler.alphas_cumprod.double()
    for name in ("one", "final_alpha_cumprod"):
        if hasattr(scheduler, name):
            setattr(scheduler, name, getattr(scheduler, name).double())
    return scheduler


def assert_equal_samples(table, theirs, condition, noise):
    """To 1e-10 in float64 and to rounding in float32; unclipped, 1/√ᾱ of the noisiest step amplifies rounding."""
    amplification = max(1.0, float(table.from_state.abs().max())) if table.clip is None else 1.0
    ours = Sequential(table).solve(network, condition, noise).sample
    assert (ours - theirs(condition, noise)).abs().max() < 1e-10 * amplification
    single = NoisePath(noise.initial.float(), noise.steps.float(), noise.uniforms.float())
    ours = Sequential(table).solve(network, condition.float(), single).sample
    assert (ours - theirs(condition.float(), single)).abs().max() < 1e-5 * amplification


def loop(scheduler, step):
    """The usual loop over a scheduler's `step`."""

    def sample(condition, noise):
        x = noise.initial
        for k, t in enumerate(scheduler.timesteps):
            x = step(k, t, network(x, t.expand(len(x)), condition), x, noise.steps[:, k]).to(x.dtype)
        return x

    return sample


@pytest.mark.parametrize(("spacing", "steps"), [("leading", 100), ("leading", 10), ("trailing", 16), ("linspace", 15)])
@pytest.mark.parametrize("betas", [*BETAS, "sigmoid"])
def test_ddpm(betas, spacing, steps):
    for prediction, clip in product(PREDICTIONS, CLIPS):
        config = {
            "_class_name": "DDPMScheduler",
            "num_train_timesteps": 100,
            "beta_schedule": betas,
            "prediction_type": prediction,
            "timestep_spacing": spacing,
            **clip,
        }
        scheduler = in_double(DDPMScheduler.from_config(config))
        scheduler.set_timesteps(steps)

        def step(k, t, prediction, x, noise, scheduler=scheduler):
            # Where the grid ends above 0, diffusers adds noise of deviation 1e-10 (its clamp of the variance) to the sample.
            noise = noise if k < steps - 1 else torch.zeros_like(x)
            with mock.patch("diffusers.schedulers.scheduling_ddpm.randn_tensor", lambda *_, **__: noise):
                return scheduler.step(prediction, t, x).prev_sample

        assert_equal_samples(step_table(config, steps), loop(scheduler, step), *paths(steps))


@pytest.mark.parametrize(("spacing", "steps"), [("leading", 50), ("leading", 15), ("trailing", 20)])
@pytest.mark.parametrize("clipped_epsilon", [False, True])
@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_ddim(spacing, steps, clipped_epsilon, eta):
    for betas, prediction, clip, to_one in product(BETAS, PREDICTIONS, CLIPS, (True, False)):
        config = {
            "_class_name": "DDIMScheduler",
            "num_train_timesteps": 100,
            "beta_schedule": betas,
            "prediction_type": prediction,
            "timestep_spacing": spacing,
            "set_alpha_to_one": to_one,
            **clip,
        }
        scheduler = in_double(DDIMScheduler.from_config(config))
        scheduler.set_timesteps(steps)

        def step(k, t, prediction, x, noise, scheduler=scheduler):
            done = scheduler.step(prediction, t, x, eta=eta, use_clipped_model_output=clipped_epsilon, variance_noise=noise)
            return done.prev_sample

        table = step_table(config, steps, eta=eta, clipped_epsilon=clipped_epsilon)
        assert_equal_samples(table, loop(scheduler, step), *paths(steps))


@pytest.mark.parametrize("algorithm", ["dpmsolver++", "sde-dpmsolver++"])
@pytest.mark.parametrize("solver_type", ["midpoint", "heun"])
@pytest.mark.parametrize("order", [1, 2])
def test_dpm_solver(algorithm, solver_type, order):
    endings = ({}, {"final_sigmas_type": "sigma_min"}, {"final_sigmas_type": "sigma_min", "euler_at_final": True})
    grids = (("linspace", 15), ("leading", 10), ("trailing", 20))
    for betas, prediction, ending, (spacing, steps) in product(BETAS, PREDICTIONS, endings, grids):
        for more in ({}, {"lower_order_final": False}, {"lambda_min_clipped": -5.1}):
            config = {
                "_class_name": "DPMSolverMultistepScheduler",
                "num_train_timesteps": 100,
                "beta_schedule": betas,
                "prediction_type": prediction,
                "timestep_spacing": spacing,
                "algorithm_type": algorithm,
                "solver_type": solver_type,
                "solver_order": order,
                **ending,
                **more,
            }
            scheduler = dpm_in_double(config, steps)

            def step(k, t, prediction, x, noise, scheduler=scheduler):
                return dpm_step(scheduler, k, t, prediction, x, noise)

            assert_equal_samples(step_table(config, steps), loop(scheduler, step), *paths(steps))


def dpm_in_double(config, steps):
    scheduler = DPMSolverMultistepScheduler.from_config(config)
    scheduler.set_timesteps(steps)
    bar = scheduler.alphas_cumprod.double()
    sigma = ((1 - bar) / bar).sqrt()
    last = sigma[:1] if config.get("final_sigmas_type") == "sigma_min" else torch.zeros(1, dtype=torch.float64)
    scheduler.sigmas = torch.cat([sigma[scheduler.timesteps], last])
    return scheduler


def dpm_step(scheduler, k, t, prediction, x, noise):
    """Keeps double precision: diffusers rounds the sample to float32 in every step."""
    if k == 0:
        scheduler._step_index = None
        scheduler.lower_order_nums = 0
    with mock.patch.object(torch, "float32", x.dtype):
        return scheduler.step(prediction, t, x, variance_noise=noise).prev_sample


NOISY = {"_class_name": "DPMSolverMultistepScheduler", "beta_schedule": "squaredcos_cap_v2", "timestep_spacing": "trailing"}


@pytest.mark.parametrize("solver_type", ["midpoint", "heun"])
@pytest.mark.parametrize("eta", [0.0, 0.4, 1.0, 2.5])
def test_dpm_solver_with_any_share_of_noise_equals_a_loop_in_states_without_decay(eta, solver_type):
    """States y = x/√ᾱ with noise levels s = √(1−ᾱ)/√ᾱ, where the signal does not decay."""
    steps, (condition, noise) = 20, paths(20)
    config = NOISY | {"num_train_timesteps": 100, "solver_type": solver_type}
    bar = DPMSolverMultistepScheduler.from_config(config).alphas_cumprod.double()
    table = step_table(config, steps, eta=eta)
    signal, level = bar.sqrt(), ((1 - bar) / bar).sqrt()

    def theirs(condition, noise):
        x, before, grid = noise.initial, None, table.timesteps.tolist()
        y, last_h = x / signal[grid[0]], None
        for k, t in enumerate(grid):
            x = (y * signal[t]).to(noise.initial.dtype)
            clean = (x - (1 - bar[t]).sqrt() * network(x, torch.full((len(x),), t), condition)) / signal[t]
            if k == steps - 1:
                return clean.to(noise.initial.dtype)
            following = level[grid[k + 1]]
            h = (level[t] / following).log()
            gone = -torch.expm1(-(1 + eta) * h)
            y = following / level[t] * torch.exp(-eta * h) * y + gone * clean
            if before is not None:
                second = gone / 2 if solver_type == "midpoint" else 1 - gone / ((1 + eta) * h)
                y = y + second * h / last_h * (clean - before)
            y = y + following * torch.sqrt(-torch.expm1(-2 * eta * h)) * noise.steps[:, k]
            before, last_h = clean, h

    assert_equal_samples(table, theirs, condition, noise)


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0, 2.5])
def test_with_any_share_of_noise_many_steps_sample_the_data_distribution(eta):
    """For normal data with deviation 0.3 the best prediction is linear, so the samples' variance follows from the table."""
    table, variance = step_table(NOISY | {"num_train_timesteps": 1000}, 1000, eta=eta), 0.3**2
    # Of the state, and of the last x̂0.
    covariance = torch.tensor([[1.0, 0.0], [0.0, 0.0]], dtype=torch.float64)
    for k in range(table.steps):
        bar = table.alpha_bar[k]
        gain = bar.sqrt() * variance / (bar * variance + 1 - bar)
        moves = torch.tensor([[table.a[k] + table.c[k] * gain, table.d[k]], [gain, 0.0]], dtype=torch.float64)
        covariance = moves @ covariance @ moves.T
        covariance[0, 0] += table.sigma[k] ** 2
    assert covariance[0, 0].item() == pytest.approx(variance, rel=0.01)


@pytest.mark.parametrize(
    ("algorithm", "spacing", "steps"),
    [("dpmsolver++", "linspace", 15), ("sde-dpmsolver++", "trailing", 20), ("sde-dpmsolver++", "trailing", 13)],
)
def test_clipped_dpm_solver_equals_a_reference_loop(algorithm, spacing, steps):
    """diffusers' class has no clipping of samples."""
    config = {
        "_class_name": "DPMSolverMultistepScheduler",
        "num_train_timesteps": 100,
        "beta_schedule": "squaredcos_cap_v2",
        "algorithm_type": algorithm,
        "timestep_spacing": spacing,
    }
    condition, noise = paths(steps)
    scheduler = dpm_in_double(config, steps)
    convert = scheduler.convert_model_output
    scheduler.convert_model_output = lambda *args, **kwargs: convert(*args, **kwargs).clamp(-1, 1)

    def step(k, t, prediction, x, noise):
        return dpm_step(scheduler, k, t, prediction, x, noise)

    table = step_table(config, steps, clip=1.0)
    assert_equal_samples(table, loop(scheduler, step), condition, noise)
    # A sampler's name takes its steps from the name, and the clipping from the scheduler that the network was trained with.
    name = {"dpmsolver++": "dpm-solver", "sde-dpmsolver++": "sde-dpm-solver"}[algorithm]
    trained = {key: config[key] for key in ("num_train_timesteps", "beta_schedule")} | {"_class_name": "DDPMScheduler"}
    assert SamplerChoice.parse(f"{name}-{steps}").build(trained).table.columns.equal(table.columns)
    free = Sequential(step_table(config, steps)).solve(network, condition, noise).sample
    assert (free - Sequential(table).solve(network, condition, noise).sample).abs().max() > 0.1


@pytest.mark.parametrize("name", ["DDPMScheduler", "DDIMScheduler"])
def test_a_schedule_that_ends_in_pure_noise(name):
    config = {
        "_class_name": name,
        "num_train_timesteps": 100,
        "prediction_type": "v_prediction",
        "rescale_betas_zero_snr": True,
        "timestep_spacing": "trailing",
    }
    table = step_table(config, 20)
    assert table.alpha_bar[0] == 0
    condition, noise = paths(20)
    assert Sequential(table).solve(network, condition, noise).stats.converged.all()
    with pytest.raises(ValueError, match=r"step 0 .* has no finite coefficients with epsilon prediction"):
        step_table(config | {"prediction_type": "epsilon"}, 20)


@pytest.mark.parametrize("eta", [0.0, 0.7])
@pytest.mark.parametrize("spacing", ["leading", "trailing", "linspace"])
def test_ddim_goes_to_the_next_timestep_of_its_grid(spacing, eta):
    """diffusers goes to t − N//T, another timestep on `linspace` grids, and on `trailing` ones unless T divides N."""
    trained = 20
    config = {"_class_name": "DDIMScheduler", "num_train_timesteps": trained, "timestep_spacing": spacing, "beta_end": 0.3}
    for steps in range(1, trained + 1):
        scheduler = in_double(DDIMScheduler.from_config(config))
        scheduler.set_timesteps(steps)
        condition, noise = paths(steps)

        def step(k, t, prediction, x, noise, scheduler=scheduler):
            return scheduler.step(prediction, t, x, eta=eta, variance_noise=noise).prev_sample

        theirs = loop(scheduler, step)
        ours = Sequential(step_table(config, steps, eta=eta)).solve(network, condition, noise).sample

        bar = scheduler.alphas_cumprod
        x = noise.initial
        for k, (t, following) in enumerate(pairwise([*scheduler.timesteps.tolist(), None])):
            after = scheduler.final_alpha_cumprod if following is None else bar[following]
            epsilon = network(x, torch.full((3,), t), condition)
            clean = ((x - (1 - bar[t]).sqrt() * epsilon) / bar[t].sqrt()).clamp(-1, 1)
            sigma = eta * ((1 - after) / (1 - bar[t]) * (1 - bar[t] / after)).sqrt()
            x = after.sqrt() * clean + (1 - after - sigma**2).sqrt() * epsilon + sigma * noise.steps[:, k]
        assert (ours - x).abs().max() < 1e-10

        differ = {"leading": False, "trailing": trained % steps != 0, "linspace": 1 < steps < trained}[spacing]
        difference = (ours - theirs(condition, noise)).abs().max()
        assert difference > 1e-3 if differ else difference < 1e-10, steps


@pytest.mark.parametrize("name", ["DDPMScheduler", "DDIMScheduler", "DPMSolverMultistepScheduler"])
def test_a_given_grid_is_used(name):
    config = {"_class_name": name, "num_train_timesteps": 100}
    grid = [99, 90, 60, 20, 7, 0]
    table = step_table(config, timesteps=grid)
    assert table.timesteps.tolist() == grid and table.scale.shape == (7,)
    for bad, message in (
        ([], "no timesteps"),
        ([99, 60, 60, 0], "step 2 goes from 60 to 60"),
        ([0, 5], "step 1 goes from 0 to 5"),
        ([100, 5], "step 0 is at timestep 100, outside"),
    ):
        with pytest.raises(ValueError, match=message):
            step_table(config, timesteps=bad)


@pytest.mark.parametrize("name", ["DDPMScheduler", "DDIMScheduler", "DPMSolverMultistepScheduler"])
def test_every_number_of_trailing_steps_gives_a_grid(name):
    """Rounding gives some of diffusers' trailing grids T + 1 entries, the last one −1."""
    config = {"_class_name": name, "num_train_timesteps": 100, "timestep_spacing": "trailing"}
    for steps in (1, 29, 31, 58, 62, 97, 100):
        expected = [round(100 - 100 * k / steps) - 1 for k in range(steps)]
        assert step_table(config, steps).timesteps.tolist() == expected


def test_custom_timesteps_of_ddpm_equal_diffusers():
    config = {"_class_name": "DDPMScheduler", "num_train_timesteps": 100}
    grid = [99, 90, 60, 20, 7, 0]
    scheduler = in_double(DDPMScheduler.from_config(config))
    scheduler.set_timesteps(timesteps=grid)

    def step(k, t, prediction, x, noise):
        with mock.patch("diffusers.schedulers.scheduling_ddpm.randn_tensor", lambda *_, **__: noise):
            return scheduler.step(prediction, t, x).prev_sample

    assert_equal_samples(step_table(config, timesteps=grid), loop(scheduler, step), *paths(6))


def test_the_last_step_adds_no_noise_and_scales_are_positive(table):
    assert table.sigma[-1] == 0 and (table.sigma[:-1] > 0).all()
    assert len(table.scale) == table.steps + 1
    assert torch.equal(table.scale[:-2], table.sigma[:-1])
    assert table.scale[-1] == table.scale[-2] == table.sigma[:-1].min()


def test_ode_tables_measure_changes_by_the_noise_of_ddpm(config):
    ddpm = step_table(config, 20)
    ddim = step_table(config | {"_class_name": "DDIMScheduler"}, 20)
    assert np.allclose(ddim.scale, ddpm.scale) and (ddim.sigma == 0).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"_class_name": "EulerDiscreteScheduler"}, "EulerDiscreteScheduler"),
        ({"variance_type": "learned"}, "variance_type = 'learned'"),
        ({"thresholding": True}, "thresholding"),
        ({"prediction_type": "score"}, "prediction_type = 'score'"),
        ({"_class_name": "DPMSolverMultistepScheduler", "use_karras_sigmas": True}, "use_karras_sigmas"),
        ({"_class_name": "DPMSolverMultistepScheduler", "solver_order": 3}, "solver_order = 3"),
        (
            {"_class_name": "DPMSolverMultistepScheduler", "algorithm_type": "dpmsolver", "final_sigmas_type": "sigma_min"},
            "alg",
        ),
    ],
)
def test_unsupported_schedules_are_named(config, change, message):
    with pytest.raises(ValueError, match=message):
        step_table(config | change, 20)


def test_a_schedule_without_steps_is_refused(config):
    with pytest.raises(ValueError, match="at least one step"):
        step_table(config, 0)


@pytest.mark.parametrize("name", ["DDPMScheduler", "DDIMScheduler", "DPMSolverMultistepScheduler"])
def test_every_kind_of_table_supports_every_beta_schedule(name):
    """diffusers' DDIM and DPM-Solver lack the sigmoid schedule that its DDPM has."""
    tables = {
        kind: step_table(
            {"_class_name": kind, "num_train_timesteps": 100, "beta_schedule": "sigmoid"}, timesteps=[90, 40, 7]
        )
        for kind in (name, "DDPMScheduler")
    }
    assert torch.equal(tables[name].alpha_bar, tables["DDPMScheduler"].alpha_bar)
    with pytest.raises(ValueError, match="beta_schedule = 'cubic' is not supported"):
        step_table({"_class_name": name, "num_train_timesteps": 100, "beta_schedule": "cubic"}, 5)


def test_more_steps_than_in_training_are_refused(config):
    with pytest.raises(ValueError, match="101 steps are too many: the network was trained with 100 timesteps"):
        step_table({**config, "_class_name": "DDIMScheduler"}, 101)
    with pytest.raises(ValueError, match="100 steps are too many for 100 timesteps so spaced"):
        step_table({**config, "_class_name": "DPMSolverMultistepScheduler"}, 100)

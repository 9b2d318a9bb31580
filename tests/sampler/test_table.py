"""Sequential DDPM from the table equals diffusers' own scheduler, for every schedule that both know."""

from unittest import mock

import pytest
import torch
from diffusers import DDPMScheduler

from paradp.sampler import NoisePath, Sequential, StepTable

SHAPE = (4, 2)


def network(x, t, condition):
    """Any smooth function will do."""
    return torch.tanh(x * (1 + t.reshape(-1, 1, 1) / 100) + condition[:, :1, None])


def diffusers_sample(config, steps, condition, noise):
    """The usual loop over `DDPMScheduler.step`, with the path's noise instead of fresh noise."""
    scheduler = DDPMScheduler.from_config(config)
    # diffusers computes coefficients in float32, where β = 1 − ᾱ/ᾱ' loses up to four digits: compare with exact ones.
    scheduler.alphas_cumprod = scheduler.alphas_cumprod.double()
    scheduler.one = scheduler.one.double()
    scheduler.set_timesteps(steps)
    x = noise.initial
    for k, t in enumerate(scheduler.timesteps):
        prediction = network(x, t.expand(len(x)), condition)
        # Where the grid ends above 0, diffusers adds noise of deviation 1e-10 (its clamp of the variance) to the sample.
        step_noise = noise.steps[:, k] if k < steps - 1 else torch.zeros_like(x)
        with mock.patch("diffusers.schedulers.scheduling_ddpm.randn_tensor", lambda *_, n=step_noise, **__: n):
            x = scheduler.step(prediction, t, x).prev_sample
    return x


@pytest.mark.parametrize("beta_schedule", ["linear", "scaled_linear", "squaredcos_cap_v2", "sigmoid"])
@pytest.mark.parametrize("prediction_type", ["epsilon", "sample", "v_prediction"])
@pytest.mark.parametrize(("clip", "clip_range"), [(True, 1.0), (True, 2.0), (False, 1.0)])
@pytest.mark.parametrize(("spacing", "steps"), [("leading", 100), ("leading", 10), ("trailing", 16), ("linspace", 15)])
def test_sequential_equals_diffusers(beta_schedule, prediction_type, clip, clip_range, spacing, steps):
    config = {
        "_class_name": "DDPMScheduler",
        "num_train_timesteps": 100,
        "beta_schedule": beta_schedule,
        "prediction_type": prediction_type,
        "clip_sample": clip,
        "clip_sample_range": clip_range,
        "timestep_spacing": spacing,
    }
    table = StepTable.from_config(config, steps)
    assert table.steps == steps
    generators = [torch.Generator().manual_seed(s) for s in range(3)]
    noise = NoisePath.draw(generators, steps, SHAPE, dtype=torch.float64)
    condition = torch.linspace(-1, 1, 6, dtype=torch.float64).reshape(3, 2)
    ours = Sequential(table).solve(network, condition, noise).sample
    theirs = diffusers_sample(config, steps, condition, noise)
    # Unclipped epsilon prediction amplifies rounding by 1/√ᾱ at the noisiest step.
    amplification = 1.0 if clip else max(1.0, float(table.from_state.abs().max()))
    assert (ours - theirs).abs().max() < 1e-10 * amplification

    single = NoisePath(noise.initial.float(), noise.steps.float())
    ours32 = Sequential(table).solve(network, condition.float(), single).sample
    theirs32 = diffusers_sample(config, steps, condition.float(), single)
    assert (ours32 - theirs32).abs().max() < 1e-5 * amplification


def test_the_last_step_adds_no_noise_and_scales_are_positive(table):
    assert table.sigma[-1] == 0 and (table.sigma[:-1] > 0).all()
    assert len(table.scale) == table.steps + 1
    assert torch.equal(table.scale[:-2], table.sigma[:-1])
    assert table.scale[-1] == table.scale[-2] == table.sigma[:-1].min()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"_class_name": "EulerDiscreteScheduler"}, "EulerDiscreteScheduler"),
        ({"variance_type": "learned"}, "variance_type = 'learned'"),
        ({"thresholding": True}, "thresholding"),
        ({"prediction_type": "score"}, "prediction type 'score'"),
    ],
)
def test_unsupported_schedules_are_named(config, change, message):
    with pytest.raises(ValueError, match=message):
        StepTable.from_config(config | change)

"""The solvers take any callable: diffusers' own networks, samples of any shape, a thousand steps."""

import pytest
import torch
from diffusers import UNet1DModel, UNet2DModel

from paradp.sampler import NoisePath, Picard, Sequential, Speculative, step_table

SCHEDULE = {"_class_name": "DDPMScheduler", "num_train_timesteps": 1000, "beta_schedule": "linear", "clip_sample": True}
MODELS = {
    "UNet1DModel": (
        lambda: UNet1DModel(
            sample_size=16,
            in_channels=3,
            out_channels=3,
            extra_in_channels=0,
            time_embedding_type="positional",
            use_timestep_embedding=True,
            down_block_types=("DownResnetBlock1D", "DownResnetBlock1D"),
            up_block_types=("UpResnetBlock1D",),
            mid_block_type="MidResTemporalBlock1D",
            out_block_type="OutConv1DBlock",
            block_out_channels=(8, 16),
            act_fn="mish",
            norm_num_groups=4,
        ),
        (3, 16),
    ),
    "UNet2DModel": (
        lambda: UNet2DModel(
            sample_size=8,
            in_channels=3,
            out_channels=3,
            layers_per_block=1,
            block_out_channels=(8, 16),
            down_block_types=("DownBlock2D", "AttnDownBlock2D"),
            up_block_types=("AttnUpBlock2D", "UpBlock2D"),
            norm_num_groups=4,
            attention_head_dim=8,
        ),
        (3, 8, 8),
    ),
}


@pytest.fixture(params=MODELS)
def model(request):
    """A callable of the solvers' kind from a diffusers network with random weights, and the shape of its samples."""
    make, shape = MODELS[request.param]
    torch.manual_seed(0)
    network = make().double().eval().requires_grad_(False)
    return (lambda x, t, condition: network(x, t).sample), shape


def draw(table, shape, batch=2):
    noise = NoisePath.draw([torch.Generator().manual_seed(i) for i in range(batch)], table.steps, shape, dtype=torch.float64)
    return torch.zeros(batch, 0, dtype=torch.float64), noise


@pytest.mark.parametrize("name", ["DDPMScheduler", "DDIMScheduler", "DPMSolverMultistepScheduler"])
def test_picard_equals_sequential_for_diffusers_networks(model, name):
    denoiser, shape = model
    table = step_table({**SCHEDULE, "_class_name": name, "clip_sample": True}, 20)
    condition, noise = draw(table, shape)
    sequential = Sequential(table).solve(denoiser, condition, noise).sample
    for split in ("unit", "linear"):
        solution = Picard(table, window=8, tolerance=0.0, split=split).solve(denoiser, condition, noise)
        # In double precision: an untrained network amplifies what the number of rows in a call does to its rounding.
        assert (solution.sample - sequential).abs().max() < 1e-9


@pytest.mark.slow
def test_a_thousand_steps_of_an_image_shaped_sample(model):
    denoiser, shape = model
    table = step_table(SCHEDULE)
    condition, noise = draw(table, shape)
    sequential = Sequential(table).solve(denoiser, condition, noise)
    assert sequential.stats.evaluations.tolist() == [1000, 1000]
    picard = Picard(table, window=100, tolerance=1e-3, split="linear").solve(denoiser, condition, noise)
    assert (picard.sample - sequential.sample).abs().max() < 1e-2
    exact = Speculative(table, window=100).solve(denoiser, condition, noise)
    assert exact.sample.shape == (2, *shape) and exact.stats.converged.all()
    for solution in (picard, exact):
        assert (solution.stats.rounds < 250).all()

"""Live policies of LeRobot are sampled in place: same object, same call, same distribution."""

import copy
from collections import deque
from types import SimpleNamespace

import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler, EulerDiscreteScheduler
from torch import Tensor, nn

from paradp.bridges import parallelize, sampling_of, undo
from paradp.bridges.fastest import Fastest, own_sampler
from paradp.bridges.left_over import from_left_over
from paradp.sampler import SamplerChoice, Speculative

SHAPE = (16, 2)
TRAINED = dict(num_train_timesteps=100, beta_schedule="squaredcos_cap_v2")


class TheirUnet(nn.Module):
    """A network with the interface of LeRobot's U-Net; predicts the noise of the distribution N(c, 0.3²)."""

    def __init__(self, scheduler):
        super().__init__()
        self.one = nn.Parameter(torch.ones(()))
        self.register_buffer("alpha_bar", scheduler.alphas_cumprod)
        self.rows: list[int] = []
        self.mixed: list[bool] = []

    def forward(self, x: Tensor, timestep: Tensor, global_cond: Tensor | None = None) -> Tensor:
        self.rows.append(len(x))
        self.mixed.append(torch.is_autocast_enabled("cpu"))
        bar = self.alpha_bar[timestep].to(x.dtype)[:, None, None]
        mean = 0.0 if global_cond is None else global_cond[:, None, :]
        return self.one * (1 - bar).sqrt() * (x - bar.sqrt() * mean) / (0.09 * bar + 1 - bar)


class TheirModel(nn.Module):
    """The interface of LeRobot's `DiffusionModel`."""

    def __init__(self, scheduler, steps=None):
        super().__init__()
        self.unet = TheirUnet(scheduler)
        self.noise_scheduler = scheduler
        self.num_inference_steps = steps or scheduler.config.num_train_timesteps
        self.config = SimpleNamespace(horizon=SHAPE[0], action_feature=SimpleNamespace(shape=SHAPE[1:]))

    def conditional_sample(self, batch_size, global_cond=None, generator=None, noise=None):
        sample = torch.randn(batch_size, *SHAPE, generator=generator) if noise is None else noise
        self.noise_scheduler.set_timesteps(self.num_inference_steps)
        for t in self.noise_scheduler.timesteps:
            prediction = self.unet(sample, torch.full((batch_size,), int(t)), global_cond=global_cond)
            sample = self.noise_scheduler.step(prediction, t, sample, generator=generator).prev_sample
        return sample


class TheirPolicy(nn.Module):
    """The interface of LeRobot's `DiffusionPolicy`: a queue of actions in front of a model."""

    def __init__(self, scheduler, steps=None):
        super().__init__()
        self.diffusion = TheirModel(scheduler, steps)
        self._queue: deque[Tensor] = deque(maxlen=8)

    @torch.no_grad()
    def select_action(self, condition: Tensor) -> Tensor:
        if not self._queue:
            self._queue.extend(
                self.diffusion.conditional_sample(len(condition), global_cond=condition)[:, 1:9].transpose(0, 1)
            )
        return self._queue.popleft()


def policy(steps=None, kind=DDPMScheduler) -> TheirPolicy:
    return TheirPolicy(kind(**TRAINED), steps)


def test_the_policy_stays_the_same_object_with_the_same_call_and_queue():
    theirs = policy()
    keys = list(theirs.state_dict())
    assert parallelize(theirs, "para-ddpm") is theirs
    condition = torch.full((3, 2), 0.5)
    actions = [theirs.select_action(condition) for _ in range(9)]
    assert [tuple(action.shape) for action in actions] == [(3, 2)] * 9
    stats = sampling_of(theirs).stats
    assert stats.rounds.shape == (3,) and stats.rounds.max() < 50  # of two plans the second
    assert max(theirs.diffusion.unet.rows) > 3
    assert list(theirs.state_dict()) == keys and list(theirs.diffusion.children()) == [theirs.diffusion.unet]


@pytest.mark.parametrize(("steps", "spacing"), [(None, "leading"), (10, "leading"), (10, "trailing")])
@pytest.mark.parametrize("kind", [DDPMScheduler, DDIMScheduler])
def test_samples_equal_the_policys_own_from_the_same_noise(kind, steps, spacing):
    """Sequentially, and in parallel with tolerance 0. Only the last of DDPM's ten steps draws no noise."""
    scheduler = kind(**TRAINED, timestep_spacing=spacing)
    model = TheirModel(scheduler, steps)
    noise, condition = torch.randn(2, *SHAPE, generator=torch.Generator().manual_seed(0)), torch.tensor([[0.2, -0.4]] * 2)
    own = own_sampler(scheduler, steps)
    solver = own.build(scheduler)
    scheduler.set_timesteps(model.num_inference_steps)
    assert solver.table.timesteps.tolist() == scheduler.timesteps.tolist()
    if kind is DDPMScheduler:
        return
    expected = model.conditional_sample(2, condition, noise=noise)
    for name in (str(own), f"para-{own}:tolerance=0", "auto"):
        found = parallelize(model, name).conditional_sample(2, condition, noise=noise)
        assert (found - expected).abs().max() < 2e-5, name


@pytest.mark.parametrize("name", ["auto", "speculative-ddpm:window=8", "para-ddpm"])
def test_samples_have_the_policys_own_distribution(name):
    """Means, spreads and correlations of three numbers in each of 300 samples."""
    model = parallelize(policy(), name).diffusion
    condition = torch.tensor([[0.4, -0.3]]).expand(300, 2)
    sample = model.conditional_sample(300, condition, generator=torch.Generator().manual_seed(1))[:, :3]
    own = undo(model).conditional_sample(300, condition, generator=torch.Generator().manual_seed(2))[:, :3]
    # Standard errors of a difference of means are 0.025, of standard deviations 0.017.
    assert (sample.mean(0) - own.mean(0)).abs().max() < 0.1
    assert (sample.std(0) - own.std(0)).abs().max() < 0.07
    first, second = sample[:, 0, 0] - sample[:, 0, 0].mean(), sample[:, 1, 1] - sample[:, 1, 1].mean()
    assert abs(float((first * second).mean() / (first.std() * second.std()))) < 0.25


def test_randomness_comes_from_the_callers_generator():
    model = parallelize(policy(), "ddpm").diffusion
    condition = torch.zeros(2, 2)

    def drawn(seed):
        return model.conditional_sample(2, condition, generator=torch.Generator().manual_seed(seed))

    assert torch.equal(drawn(0), drawn(0)) and not torch.equal(drawn(0), drawn(1))
    assert not torch.equal(*drawn(0))
    torch.manual_seed(0)
    first = model.conditional_sample(2, condition)
    torch.manual_seed(0)
    assert torch.equal(first, model.conditional_sample(2, condition))


def test_undo_restores_the_original_function():
    theirs = policy()
    before = theirs.diffusion.conditional_sample
    parallelize(theirs, "para-ddpm")
    parallelize(theirs, "ddim-5")
    theirs.diffusion.conditional_sample(1, torch.zeros(1, 2))
    assert sampling_of(theirs).solver.table.steps == 5
    assert undo(theirs) is theirs and theirs.diffusion.conditional_sample == before
    for ask in (undo, sampling_of):
        with pytest.raises(ValueError, match="this TheirPolicy samples in its own way: parallelize did not change it"):
            ask(theirs)


def test_a_copy_samples_with_its_own_weights():
    theirs = parallelize(policy(), "ddim-5")
    other = copy.deepcopy(theirs)
    with torch.no_grad():
        other.diffusion.unet.one.zero_()
    noise = torch.randn(1, *SHAPE)
    samples = [one.diffusion.conditional_sample(1, torch.zeros(1, 2), noise=noise) for one in (theirs, other)]
    assert not torch.equal(*samples)


def test_sampling_works_in_every_gradient_mode_of_the_caller():
    model = parallelize(policy(), "para-ddpm:tolerance=0").diffusion
    condition = torch.zeros(1, 2)

    def sample():
        return model.conditional_sample(1, condition, generator=torch.Generator().manual_seed(0))

    with torch.inference_mode():
        first = sample()
    with torch.no_grad():
        second = sample()
    third = sample()
    assert torch.equal(first, second) and torch.equal(second, third)
    assert not third.requires_grad and not third.is_inference() and third.add_(1) is third
    model.unet.mixed.clear()
    with torch.autocast("cpu", torch.bfloat16):
        fourth = sample()
    assert all(model.unet.mixed) and fourth.dtype == torch.float32
    assert torch.allclose(second, fourth, atol=1e-5)  # this network has nothing to compute in bf16


def test_sampling_works_with_weights_in_half_precision():
    model = parallelize(policy().to(torch.bfloat16), "ddim-10").diffusion
    sample = model.conditional_sample(2, torch.zeros(2, 2, dtype=torch.bfloat16), noise=torch.randn(2, *SHAPE).bfloat16())
    assert sample.dtype == torch.bfloat16 and sample.isfinite().all()


def test_a_network_without_a_policy_is_sampled():
    scheduler = DDPMScheduler(**TRAINED)
    network = TheirUnet(scheduler)
    assert parallelize(network, "para-ddpm", scheduler=scheduler, shape=SHAPE) is network
    assert network.conditional_sample(2, torch.zeros(2, 2)).shape == (2, *SHAPE)
    assert network.conditional_sample(3).shape == (3, *SHAPE)  # without conditions
    assert not hasattr(undo(network), "conditional_sample")
    with pytest.raises(ValueError, match="TheirUnet is not a diffusion policy of LeRobot, Diffusion Policy or robo"):
        parallelize(network)


def test_auto_computes_several_steps_at_once_if_that_is_faster(monkeypatch):
    from paradp.bridges import fastest

    # As on a GPU: a call takes the same time whatever it computes.
    monkeypatch.setattr(fastest, "timed", lambda work, device: 1.0)
    wide = parallelize(policy()).diffusion
    wide.conditional_sample(1, torch.zeros(1, 2))
    assert isinstance(sampling_of(wide).solver, Speculative) and sampling_of(wide).solver.window == 50
    # As where every row costs the same.
    monkeypatch.setattr(fastest, "_seconds", lambda denoiser, condition, shape, window: float(window))
    narrow = parallelize(policy()).diffusion
    narrow.conditional_sample(1, torch.zeros(1, 2))
    assert type(sampling_of(narrow).solver).__name__ == "Sequential"


def test_auto_returns_to_sequential_steps_if_sampling_turns_out_slower(monkeypatch):
    from paradp.bridges import fastest

    monkeypatch.setattr(fastest, "timed", lambda work, device: 1.0)
    chooser = Fastest(DDPMScheduler(**TRAINED), 10)
    condition = torch.zeros(2, 2)
    denoiser = TheirUnet(DDPMScheduler(**TRAINED))
    assert isinstance(chooser.solver(denoiser, condition, SHAPE), Speculative)
    chooser.took(2, 9.0)
    assert isinstance(chooser.solver(denoiser, condition, SHAPE), Speculative)
    chooser.took(2, 11.0)
    assert type(chooser.solver(denoiser, condition, SHAPE)).__name__ == "Sequential"


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda: parallelize(policy(), "para-ddqm"), "unknown sampler"),
        (lambda: parallelize(policy(), "auto-fast"), "auto-fast needs measurements of a checkpoint"),
        (lambda: parallelize(policy(), "flow-5"), "flow-5"),
        (lambda: parallelize(policy(), shape=SHAPE), "scheduler and shape are for a network alone"),
        (
            lambda: parallelize(policy(kind=EulerDiscreteScheduler)),
            "auto supports DDPMScheduler, DDIM",
        ),
        (
            lambda: parallelize(policy()).diffusion.conditional_sample(2, torch.zeros(2, 2), noise=torch.zeros(2, 3)),
            r"the noise has shape \(2, 3\), 2 samples have \(2, 16, 2\)",
        ),
        (
            lambda: parallelize(policy(), "ddim-5").diffusion.conditional_sample(1, torch.full((1, 2), torch.nan)),
            "the network's predictions are not finite",
        ),
    ],
)
def test_an_error_names_what_is_not_supported(ask, message):
    with pytest.raises(ValueError, match=message):
        ask()


@pytest.mark.parametrize(("steps", "spacing"), [(16, "trailing"), (10, "linspace")])
def test_auto_refuses_steps_that_do_not_end_at_the_schedulers_timesteps(steps, spacing):
    scheduler = DDIMScheduler(**TRAINED, timestep_spacing=spacing)
    with pytest.raises(ValueError, match=f"do not end at its timesteps; name a sampler, such as ddim-{steps}"):
        parallelize(TheirModel(scheduler, steps))
    assert own_sampler(DDPMScheduler(**TRAINED, timestep_spacing=spacing), steps).steps == steps


@pytest.mark.parametrize("whole", [True, False])
def test_a_compiled_network_is_sampled_in_place_and_restored(whole):
    model = TheirModel(DDIMScheduler(**TRAINED), 10)
    found = torch.compile(model if whole else model.unet, backend="eager")
    own = {} if whole else dict(scheduler=model.noise_scheduler, shape=SHAPE)
    for name in ("ddim-10", "para-ddim-10"):
        assert parallelize(found, name, **own) is found
        assert found.conditional_sample(2, torch.zeros(2, 2)).shape == (2, *SHAPE)
        assert sampling_of(found).stats is not None
    undo(found)
    with pytest.raises(ValueError, match="parallelize did not change it"):
        sampling_of(found)


def test_undo_restores_a_function_of_the_object_itself():
    model = policy().diffusion
    mine = model.conditional_sample = torch.no_grad()(model.conditional_sample)
    parallelize(parallelize(model, "ddpm"), "ddim-10")
    assert model.conditional_sample is not mine
    assert undo(model).conditional_sample is mine


def test_auto_takes_the_steps_of_the_scheduler():
    assert own_sampler(DDPMScheduler(**TRAINED), 100) == SamplerChoice.parse("ddpm")
    assert own_sampler(DDIMScheduler(**TRAINED), None) == SamplerChoice.parse("ddim-100")


def test_a_new_chunk_keeps_the_unexecuted_actions_and_continues_them():
    theirs = policy()
    left_over = torch.linspace(0.4, 0.6, 6)[:, None].expand(6, 2)
    filled = torch.cat([left_over, torch.zeros(4, 2)])  # as LeRobot fills up what is short
    for sampler, within in (("ddpm", 1e-5), ("speculative-ddpm", 1e-5), ("para-ddpm", 0.1), ("ddim-10", 1e-5)):
        parallelize(theirs, sampler)
        known, weight = from_left_over(filled, 3, (64, *SHAPE), 1)
        assert weight[0].tolist()[:4] == [0, 1, 1, 1] and weight[0, 7:].eq(0).all() and known[:, 7:].eq(0).all()
        sample = sampling_of(theirs)(64, torch.zeros(64, 2), known=(known, weight))
        assert (sample[:, 1:4] - left_over[:3]).abs().max() < within, sampler
        # Beyond it there is the policy's own distribution, and between them something between.
        free = sampling_of(theirs)(64, torch.zeros(64, 2))[:, 8:]
        assert abs(sample[:, 8:].std() / free.std() - 1) < 0.1 and abs(sample[:, 8:].mean()) < 0.05
        assert sample[:, 4].mean() > 0.1


def test_one_robots_unexecuted_actions_serve_all_rows_and_may_be_short_or_long():
    known, weight = from_left_over(torch.ones(40, 2), 99, (3, *SHAPE), 1)
    assert known.shape == (3, 16, 2) and weight[:, 1:].eq(1).all() and weight[:, 0].eq(0).all()
    known, weight = from_left_over(torch.zeros(2, 10, 2), 4, (2, *SHAPE), 1)
    assert weight.eq(0).all()
    with pytest.raises(ValueError, match=r"shape \[10, 3\], an action of the policy 2 numbers"):
        from_left_over(torch.zeros(10, 3), 4, (2, *SHAPE), 1)

"""Live policies of Diffusion Policy and robomimic are sampled in place: same object, same call, same samples.

Their own classes are sampled by `tests/diffusion_policy_in_place.py`.
"""

import copy
from types import SimpleNamespace

import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler
from torch import Tensor, nn

from paradp.bridges import parallelize, sampling_of, undo

TRAINED = dict(num_train_timesteps=100, beta_schedule="squaredcos_cap_v2")
HORIZON, ACTIONS, OBSERVED, SEEN = 16, 2, 2, 2


class Predictor(nn.Module):
    """A network with their interface; predicts the noise of the distribution N(c, 0.3²), c from the first observed step."""

    def __init__(self, scheduler, attends: bool):
        super().__init__()
        self.one = nn.Parameter(torch.ones(()))
        self.register_buffer("alpha_bar", scheduler.alphas_cumprod)
        self.attends = attends

    def forward(self, sample: Tensor, timestep: Tensor, cond=None, local_cond=None, global_cond=None) -> Tensor:
        assert (cond is not None) == self.attends and local_cond is None
        given = cond.flatten(1) if self.attends else global_cond
        bar = self.alpha_bar[timestep.expand(len(sample))][:, None, None]
        mean = given[:, None, :SEEN]
        return self.one * (1 - bar).sqrt() * (sample - bar.sqrt() * mean) / (0.09 * bar + 1 - bar)


class TheirPolicy(nn.Module):
    """The interface of Diffusion Policy's policies for vectors, with a U-Net or a transformer."""

    def __init__(self, kind=DDIMScheduler, steps=10, attends=False, conditioned=True, **kwargs):
        super().__init__()
        self.noise_scheduler = kind(**TRAINED)
        self.model = Predictor(self.noise_scheduler, attends)
        self.num_inference_steps, self.horizon, self.n_obs_steps = steps, HORIZON, OBSERVED
        self.n_action_steps, self.action_dim, self.kwargs = 8, ACTIONS, kwargs
        setattr(self, "obs_as_cond" if attends else "obs_as_global_cond", conditioned)

    def conditional_sample(self, condition_data, condition_mask, generator=None, **given):
        sample = torch.randn(condition_data.shape, generator=generator)
        self.noise_scheduler.set_timesteps(self.num_inference_steps)
        for t in self.noise_scheduler.timesteps:
            sample[condition_mask] = condition_data[condition_mask]
            sample = self.noise_scheduler.step(self.model(sample, t, **given), t, sample, generator=generator).prev_sample
        return sample

    def predict_action(self, observation: Tensor) -> Tensor:
        data = torch.zeros(len(observation), HORIZON, ACTIONS)
        seen = observation[:, :OBSERVED]
        given = {"cond": seen} if self.model.attends else {"local_cond": None, "global_cond": seen.flatten(1)}
        sample = self.conditional_sample(data, torch.zeros_like(data, dtype=torch.bool), **given, **self.kwargs)
        return sample[:, OBSERVED - 1 :][:, : self.n_action_steps]


class TheirAlgorithm:
    """The interface of robomimic's algorithm, which is not a module; observations are concatenated without encoding."""

    def __init__(self, kind=DDIMScheduler, steps=10):
        self.noise_scheduler = kind(**TRAINED)
        encoder = nn.Identity()
        encoder.forward = lambda obs, goal=None: torch.cat(list(obs.values()), -1)
        parts = nn.ModuleDict({"noise_pred_net": Predictor(self.noise_scheduler, False), "obs_encoder": encoder})
        self.nets, self.ema = nn.ModuleDict({"policy": parts}), None
        settings = SimpleNamespace(enabled=True, num_inference_timesteps=steps)
        horizon = SimpleNamespace(observation_horizon=OBSERVED, prediction_horizon=HORIZON, action_horizon=8)
        self.algo_config = SimpleNamespace(ddpm=settings, ddim=SimpleNamespace(enabled=False), horizon=horizon)
        self.obs_shapes, self.ac_dim = {"first": [1], "second": [1]}, ACTIONS

    def _get_action_trajectory(self, obs_dict, goal_dict=None):
        condition = torch.cat([obs_dict[key] for key in self.obs_shapes], -1).flatten(1)
        sample = torch.randn(len(condition), HORIZON, ACTIONS)
        self.noise_scheduler.set_timesteps(self.algo_config.ddpm.num_inference_timesteps)
        for t in self.noise_scheduler.timesteps:
            prediction = self.nets["policy"]["noise_pred_net"](sample, t, global_cond=condition)
            sample = self.noise_scheduler.step(prediction, t, sample).prev_sample
        return sample[:, OBSERVED - 1 :][:, :8]


@pytest.mark.parametrize("attends", [False, True])
@pytest.mark.parametrize("sampler", ["ddim-10", "para-ddim-10:tolerance=0", "auto", "para-ddpm"])
def test_a_policy_samples_its_own_distribution(attends, sampler):
    own_steps = (DDPMScheduler, 100) if sampler == "para-ddpm" else (DDIMScheduler, 10)
    theirs = TheirPolicy(*own_steps, attends=attends)
    seen = torch.tensor([0.4, -0.3]).expand(400, 3, SEEN)  # more steps than are observed
    keys = list(theirs.state_dict())
    own = theirs.predict_action(seen)
    assert parallelize(theirs, sampler) is theirs
    found = theirs.predict_action(seen)
    assert found.shape == own.shape and found.dtype == own.dtype and list(theirs.state_dict()) == keys
    # Means and spreads of 400 numbers: the bounds are five standard errors.
    assert (found.mean(0) - own.mean(0)).abs().max() < 0.1 and (found.std(0) / own.std(0) - 1).abs().max() < 0.25
    assert sampling_of(theirs).stats.rounds.shape == (400,)
    theirs.predict_action(seen[:2])
    assert undo(theirs) is theirs and "conditional_sample" not in vars(theirs)
    with pytest.raises(ValueError, match="this TheirPolicy samples in its own way"):
        sampling_of(theirs)


def test_the_callers_generator_and_a_copy():
    theirs = parallelize(TheirPolicy(kind=DDPMScheduler, steps=100), "para-ddpm")
    data = torch.zeros(2, HORIZON, ACTIONS)

    def sample(policy):
        generator, condition = torch.Generator().manual_seed(1), torch.zeros(2, OBSERVED * SEEN)
        return policy.conditional_sample(data, data.bool(), global_cond=condition, generator=generator)

    assert torch.equal(sample(theirs), sample(theirs)) and sampling_of(theirs).stats.rounds.max() < 50
    other = copy.deepcopy(theirs)
    with torch.no_grad():
        other.model.one.zero_()
    assert not torch.equal(sample(theirs), sample(other))


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_policy_of_robomimic_samples_its_own_distribution(wrapped):
    theirs = TheirAlgorithm(DDPMScheduler, 100)
    policy = SimpleNamespace(policy=theirs) if wrapped else theirs
    seen = {"second": torch.full((400, OBSERVED, 1), -0.3), "first": torch.full((400, OBSERVED, 1), 0.4), "more": None}
    own = theirs._get_action_trajectory(obs_dict=seen)
    assert parallelize(policy, "para-ddpm") is policy
    found = theirs._get_action_trajectory(obs_dict=seen)
    assert found.shape == own.shape
    assert (found.mean(0) - own.mean(0)).abs().max() < 0.1 and (found.std(0) / own.std(0) - 1).abs().max() < 0.25
    assert sampling_of(policy).stats.rounds.max() < 50
    undo(policy)
    assert "_get_action_trajectory" not in vars(theirs)


def test_a_policy_that_predicts_only_the_executed_actions_works():
    theirs = TheirPolicy()
    theirs.pred_action_steps_only = True
    parallelize(theirs, "ddim-5")
    data = torch.zeros(2, theirs.n_action_steps, ACTIONS)
    assert theirs.conditional_sample(data, data.bool(), global_cond=torch.zeros(2, 4)).shape == data.shape


def fixed(**given) -> Tensor:
    theirs = parallelize(TheirPolicy(), "ddim-5")
    data = torch.zeros(1, HORIZON, ACTIONS)
    return theirs.conditional_sample(data, given.pop("mask", data.bool()), **given)


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda: parallelize(TheirPolicy(conditioned=False)), "this TheirPolicy has no obs_as_global_cond: its samples"),
        (lambda: parallelize(TheirPolicy(attends=True, conditioned=False)), "this TheirPolicy has no obs_as_cond"),
        (lambda: parallelize(TheirPolicy(eta=0.5)), "this TheirPolicy gives its scheduler eta: not supported"),
        (lambda: parallelize(TheirPolicy(), shape=(16, 2)), "scheduler and shape are for a network alone"),
        (lambda: fixed(local_cond=torch.zeros(1, HORIZON, 4)), "conditioned by parts of the sample or step by step"),
        (lambda: fixed(mask=torch.ones(1, HORIZON, ACTIONS).bool()), "conditioned by parts of the sample or step by step"),
        (lambda: parallelize(SimpleNamespace(policy=None)), "SimpleNamespace is not a diffusion policy of LeRobot,"),
    ],
)
def test_an_error_names_unsupported_settings(ask, message):
    with pytest.raises(ValueError, match=message):
        ask()

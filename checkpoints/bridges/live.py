"""Finds the sampling function of a live policy of another program, its network and its scheduler."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from paradp.bridges.sampling import Network, Sampling
from paradp.sampler.schedules.described import Scheduler

NAME = "conditional_sample"
_LEROBOT = ("unet", "noise_scheduler", "num_inference_steps", "config", NAME)
_DIFFUSION_POLICY = ("model", "noise_scheduler", "num_inference_steps", "horizon", "n_obs_steps", "action_dim", NAME)
_ROBOMIMIC = ("nets", "ema", "noise_scheduler", "algo_config", "ac_dim", "_get_action_trajectory")
_CONDITIONS = ("obs_as_global_cond", "obs_as_cond")


@dataclass(frozen=True)
class Live:
    """The sampling function of a live policy.

    Attributes:
        target: the object that has the function.
        name: name of the function.
        network: the network that predicts noise.
        scheduler: diffusers' scheduler.
        steps: number of denoising steps; `None` for all of the training.
        shape: shape of one sample.
        function: makes the replacement of the function from a `Sampling`.
    """

    target: Any
    name: str
    network: Network
    scheduler: Scheduler
    steps: int | None
    shape: tuple[int, ...]
    function: Callable[[Sampling], Callable[..., Tensor]]


class Masked:
    """Replaces `conditional_sample` of Diffusion Policy, which also takes a mask of fixed parts of the sample.

    Args:
        sampling: draws the samples.
    """

    def __init__(self, sampling: Sampling):
        self.sampling = sampling

    def __call__(
        self,
        condition_data: Tensor,
        condition_mask: Tensor,
        local_cond: Tensor | None = None,
        global_cond: Tensor | None = None,
        cond: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Draws samples of the shape of `condition_data`, `[B, T, A]`.

        Raises:
            ValueError: a part of the sample is fixed, there are local conditions, or as `Sampling`.
        """
        if local_cond is not None or condition_mask.any():
            raise ValueError("this policy is conditioned by parts of the sample or step by step, which is not supported")
        given = global_cond if cond is None else cond.flatten(1)
        return self.sampling(len(condition_data), given, generator).to(condition_data.dtype)


class Stepwise(nn.Module):
    """A transformer of Diffusion Policy with the interface of its U-Net: the conditions of all steps are concatenated.

    Args:
        network: called as `network(sample, timestep, cond)` with conditions `[n, To, C]`.
        steps: To.
    """

    def __init__(self, network: nn.Module, steps: int):
        super().__init__()
        self.network, self.steps = network, steps

    def forward(self, sample: Tensor, timestep: Tensor, global_cond: Tensor) -> Tensor:
        return cast(Tensor, self.network(sample, timestep, global_cond.unflatten(1, (self.steps, -1))))


class ActionTrajectory:
    """Replaces `_get_action_trajectory` of robomimic.

    Args:
        sampling: draws the samples.
        encoder: robomimic's encoder of observations.
        shapes: shapes of the observations, without batch and steps.
        first, count: index of the first returned action, and their number.
    """

    def __init__(self, sampling: Sampling, encoder: nn.Module, shapes: dict[str, Sequence[int]], first: int, count: int):
        self.sampling = sampling
        self._encoder, self._shapes, self._first, self._count = encoder, shapes, first, count

    def __call__(self, obs_dict: dict[str, Tensor], goal_dict: dict[str, Tensor] | None = None) -> Tensor:
        """Returns actions `[B, count, A]` for observations, key → `[B, To, …]`.

        Raises:
            ValueError: as `Sampling`.
        """
        seen = {key: obs_dict[key] for key in self._shapes}
        seen = {key: one if one.ndim - 2 == len(self._shapes[key]) else one[:, None] for key, one in seen.items()}
        batch, steps = next(iter(seen.values())).shape[:2]
        features = self._encoder(obs={key: one.flatten(0, 1) for key, one in seen.items()}, goal=goal_dict)
        condition = features.unflatten(0, (batch, steps)).flatten(1)
        return self.sampling(batch, condition)[:, self._first : self._first + self._count]


def find_live(policy: Any) -> Live | None:
    """Finds the sampling function of a policy; `None` if the object is not a policy of a supported program.

    Raises:
        ValueError: it is a policy of Diffusion Policy with unsupported conditions.
    """
    for one in (policy, getattr(policy, "diffusion", None)):
        if isinstance(one, nn.Module) and _has(one, _LEROBOT):
            config: Any = one.config
            shape = (config.horizon, config.action_feature.shape[0])
            return _live(one, one.unet, shape, lambda sampling: sampling)
    if isinstance(policy, nn.Module) and _has(policy, _DIFFUSION_POLICY):
        return _diffusion_policy(policy)
    for one in (policy, getattr(policy, "policy", None)):
        if _has(one, _ROBOMIMIC):
            return _robomimic(one)
    return None


def _has(found: Any, parts: Sequence[str]) -> bool:
    return all(hasattr(found, part) for part in parts)


def _live(target: Any, network: Any, shape: Any, function: Callable[[Sampling], Callable[..., Tensor]]) -> Live:
    scheduler, steps = target.noise_scheduler, target.num_inference_steps
    return Live(target, NAME, Network(network), scheduler, steps, tuple(shape), function)


def _diffusion_policy(policy: Any) -> Live:
    conditions = [name for name in _CONDITIONS if hasattr(policy, name)]
    if not conditions or not getattr(policy, conditions[0]):
        said = conditions[0] if conditions else _CONDITIONS[0]
        raise ValueError(
            f"this {type(policy).__name__} has no {said}: its samples contain more than actions, which is not supported"
        )
    if getattr(policy, "kwargs", None):
        raise ValueError(f"this {type(policy).__name__} gives its scheduler {', '.join(policy.kwargs)}: not supported")
    steps = policy.n_action_steps if getattr(policy, "pred_action_steps_only", False) else policy.horizon
    attends = conditions[0] == "obs_as_cond"
    network = Stepwise(policy.model, policy.n_obs_steps) if attends else policy.model
    return _live(policy, network, (steps, policy.action_dim), Masked)


def _robomimic(algo: Any) -> Live:
    nets = (algo.nets if algo.ema is None else algo.ema.averaged_model)["policy"]
    settings, horizon = algo.algo_config, algo.algo_config.horizon
    steps = (settings.ddpm if settings.ddpm.enabled else settings.ddim).num_inference_timesteps
    return Live(
        target=algo,
        name="_get_action_trajectory",
        network=Network(nets["noise_pred_net"]),
        scheduler=algo.noise_scheduler,
        steps=steps,
        shape=(horizon.prediction_horizon, algo.ac_dim),
        function=lambda sampling: ActionTrajectory(
            sampling, nets["obs_encoder"], dict(algo.obs_shapes), horizon.observation_horizon - 1, horizon.action_horizon
        ),
    )

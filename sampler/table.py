"""The coefficients of every step from noise to sample, in one table that all solvers share."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from diffusers import DDPMScheduler
from torch import Tensor


@dataclass(frozen=True)
class StepTable:
    """Steps k = 0 … T−1 from pure noise x_0 to the sample x_T, each of the form

        x_{k+1} = a_k x_k + c_k x̂0_k + σ_k ξ_k,     x̂0_k = clip(u_k x_k + v_k prediction)

    where x̂0_k is the clean sample that the network predicts at (x_k, t_k). For DDPM with ᾱ = ᾱ(t_k), ᾱ' that of the *next
    timestep of the grid* (1 after the last), α = ᾱ/ᾱ' and β = 1 − α (Ho et al. 2020, eq. 7 and 15):

        a = √α (1−ᾱ')/(1−ᾱ),   c = √ᾱ' β/(1−ᾱ),   σ² = β (1−ᾱ')/(1−ᾱ)

    Attributes:
        timesteps: `[T]` int64, what the network is told at each step.
        a, c, sigma: `[T]`, the step's coefficients.
        from_state, from_prediction: `[T]`, u and v: epsilon, sample and v prediction all reduce to x̂0.
        scale: `[T+1]`, the size that a change of x_j is measured against: the posterior standard deviation of the step
            leaving x_j; the smallest positive one where there is no noise.
        clip: bound of |x̂0|, or `None`.
    """

    timesteps: Tensor
    a: Tensor
    c: Tensor
    sigma: Tensor
    from_state: Tensor
    from_prediction: Tensor
    scale: Tensor
    clip: float | None

    @property
    def steps(self) -> int:
        """T."""
        return len(self.timesteps)

    @classmethod
    def from_config(cls, config: Mapping[str, Any], steps: int | None = None) -> "StepTable":
        """The table of a diffusers scheduler config, in float64 on the CPU.

        Args:
            config: a config as diffusers schedulers save it; the class must be `DDPMScheduler`.
            steps: T; the schedule's training steps unless given.

        Raises:
            ValueError: the scheduler, its variance, its prediction type or its thresholding is not supported, or the
                timesteps do not decrease.
        """
        name = config.get("_class_name")
        if name != "DDPMScheduler":
            raise ValueError(f"no step table for the scheduler {name!r}; there is one for DDPMScheduler")
        scheduler = DDPMScheduler.from_config(dict(config))
        for key, wanted in (("variance_type", "fixed_small"), ("thresholding", False)):
            if scheduler.config[key] != wanted:
                raise ValueError(f"{key} = {scheduler.config[key]!r} is not supported; only {wanted!r} is")
        scheduler.set_timesteps(steps or scheduler.config.num_train_timesteps)
        timesteps = scheduler.timesteps.to(torch.int64)
        if (timesteps.diff() >= 0).any():
            step = int((timesteps.diff() >= 0).nonzero()[0]) + 1
            raise ValueError(
                f"timesteps must decrease, but step {step} goes from {timesteps[step - 1]} to {timesteps[step]}"
            )
        alpha_bar = scheduler.alphas_cumprod.double()[timesteps]
        return cls._ddpm(
            timesteps=timesteps,
            alpha_bar=alpha_bar,
            prediction_type=scheduler.config.prediction_type,
            clip=scheduler.config.clip_sample_range if scheduler.config.clip_sample else None,
        )

    @classmethod
    def _ddpm(cls, timesteps: Tensor, alpha_bar: Tensor, prediction_type: str, clip: float | None) -> "StepTable":
        following = torch.cat([alpha_bar[1:], alpha_bar.new_ones(1)])
        beta = 1 - alpha_bar / following
        sigma = (beta * (1 - following) / (1 - alpha_bar)).sqrt()
        from_state, from_prediction = _clean_sample_coefficients(alpha_bar, prediction_type)
        smallest = sigma[sigma > 0].amin() if (sigma > 0).any() else torch.ones_like(sigma[0])
        return cls(
            timesteps=timesteps,
            a=(alpha_bar / following).sqrt() * (1 - following) / (1 - alpha_bar),
            c=following.sqrt() * beta / (1 - alpha_bar),
            sigma=sigma,
            from_state=from_state,
            from_prediction=from_prediction,
            scale=torch.cat([torch.where(sigma > 0, sigma, smallest), smallest[None]]),
            clip=clip,
        )

    def to(self, device: torch.device, dtype: torch.dtype) -> "StepTable":
        """The same table where the samples live."""
        floats = {
            name: getattr(self, name).to(device, dtype)
            for name in ("a", "c", "sigma", "from_state", "from_prediction", "scale")
        }
        return replace(self, timesteps=self.timesteps.to(device), **floats)

    def clean(self, x: Tensor, prediction: Tensor, step: Tensor) -> Tensor:
        """x̂0 of rows x `[n, …]`, each at its own step `[n]`, from the network's prediction there."""
        clean = rows(self.from_state[step], x) * x + rows(self.from_prediction[step], x) * prediction
        return clean if self.clip is None else clean.clamp(-self.clip, self.clip)


def rows(coefficients: Tensor, like: Tensor) -> Tensor:
    """Coefficients, one for each leading index, shaped to broadcast over the sample's dimensions."""
    return coefficients.reshape(coefficients.shape + (1,) * (like.ndim - coefficients.ndim))


def _clean_sample_coefficients(alpha_bar: Tensor, prediction_type: str) -> tuple[Tensor, Tensor]:
    signal, noise = alpha_bar.sqrt(), (1 - alpha_bar).sqrt()
    match prediction_type:
        case "epsilon":
            return 1 / signal, -noise / signal
        case "sample":
            return torch.zeros_like(signal), torch.ones_like(signal)
        case "v_prediction":
            return signal, -noise
        case _:
            raise ValueError(f"unknown prediction type {prediction_type!r}; there are: epsilon, sample, v_prediction")

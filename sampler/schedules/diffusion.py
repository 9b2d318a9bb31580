"""Step tables of networks that were trained to denoise step by step: DDPM, DDIM and DPM-Solver++.

Coefficients are computed in float64 from the scheduler's own ᾱ, and always towards the *next timestep of the grid*.
diffusers steps by arithmetic on t in places (its DDIM by N//n), which differs on grids that are not evenly spaced down to 0.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from diffusers import DDIMScheduler, DDPMScheduler, DPMSolverMultistepScheduler
from torch import Tensor

from paradp.sampler.schedules.assembly import assembled, following, posterior_deviation
from paradp.sampler.schedules.described import Described, Scheduler
from paradp.sampler.schedules.grids import grid
from paradp.sampler.schedules.reading import read_settings
from paradp.sampler.schedules.settings import DDIMSettings, DDPMSettings, DPMSolverSettings, Schedule
from paradp.sampler.table import StepTable


def ddpm_table(
    scheduler: Scheduler | Described,
    steps: int | None = None,
    timesteps: Sequence[int] | None = None,
    spacing: str | None = None,
) -> StepTable:
    """DDPM's posterior (Ho et al. 2020, eq. 7): with α = ᾱ/ᾱ', β = 1 − α and ᾱ' = 1 after the last step

        a = √α (1−ᾱ')/(1−ᾱ),   c = √ᾱ' β/(1−ᾱ),   σ² = β (1−ᾱ')/(1−ᾱ)

    With fewer timesteps than in training it is still DDPM: a coarser discretisation, with more noise per step.
    """
    settings = read_settings(DDPMSettings, scheduler, **_spaced(spacing))
    visited, bar = grid(settings, settings.build(DDPMScheduler), steps, timesteps)
    after = following(bar, 1.0)
    beta = 1 - bar / after
    return _table(
        settings,
        visited,
        bar,
        a=(bar / after).sqrt() * (1 - after) / (1 - bar),
        c=after.sqrt() * beta / (1 - bar),
        sigma=posterior_deviation(bar, after),
        clip=settings.clip,
    )


def ddim_table(
    scheduler: Scheduler | Described,
    steps: int | None = None,
    timesteps: Sequence[int] | None = None,
    eta: float = 0.0,
    clipped_epsilon: bool = False,
    spacing: str | None = None,
) -> StepTable:
    """DDIM (Song et al. 2021, eq. 12): with σ = η √(β (1−ᾱ')/(1−ᾱ)) and a = √((1−ᾱ'−σ²)/(1−ᾱ))

        x_{k+1} = √ᾱ' clip(x̂0) + a (x_k − √ᾱ x̂0) + σ ξ

    Args:
        eta: η, from 0 (deterministic) to 1.
        clipped_epsilon: take clip(x̂0) in the second term as well: diffusers' `use_clipped_model_output=True`. Its default,
            and ours, keeps the direction of the noise unclipped there.
    """
    if not 0 <= eta <= 1:
        raise ValueError(f"eta must be between 0 and 1, not {eta}")
    settings = read_settings(DDIMSettings, scheduler, **_spaced(spacing))
    theirs = settings.build(DDIMScheduler, set_alpha_to_one=settings.set_alpha_to_one)
    visited, bar = grid(settings, theirs, steps, timesteps)
    return ddim_steps(settings, visited, bar, following(bar, float(theirs.final_alpha_cumprod)), eta, clipped_epsilon)


def ddim_steps(
    settings: DDIMSettings, timesteps: Tensor, bar: Tensor, after: Tensor, eta: float = 0.0, clipped_epsilon: bool = False
) -> StepTable:
    """DDIM's steps from ᾱ to ᾱ', `[T]` each, with the options of `ddim_table`; they need not form a trajectory."""
    sigma = eta * posterior_deviation(bar, after)
    a = ((1 - after - sigma**2) / (1 - bar)).sqrt()
    clip = settings.clip
    direction = -a * bar.sqrt()
    kept = clip is not None and not clipped_epsilon
    return _table(
        settings,
        timesteps,
        bar,
        a=a,
        c=after.sqrt() if kept else after.sqrt() + direction,
        r=direction if kept else None,
        sigma=sigma,
        clip=clip,
    )


# Long: half of it is documentation, so that the formulas stand beside the code that computes them.
def dpm_solver_table(
    scheduler: Scheduler | Described,
    steps: int | None = None,
    timesteps: Sequence[int] | None = None,
    clip: float | None = None,
    spacing: str | None = None,
    eta: float | None = None,
) -> StepTable:
    """DPM-Solver++ of first order and 2M, as an ODE or an SDE solver (Lu et al. 2022b, eq. 9 and Algorithm 2).

    Follows the config's `solver_order` (1 or 2), `algorithm_type`, `solver_type`, `lower_order_final`, `euler_at_final`,
    `final_sigmas_type` and `lambda_min_clipped`. With λ = log √ᾱ − log √(1−ᾱ) and h the step in λ, the first order is

        x_{k+1} = σ'/σ e^{−ηh} x_k + √ᾱ' (1 − e^{−(1+η)h}) x̂0_k + σ' √(1 − e^{−2ηh}) ξ

    and the second adds the weight of the difference quotient (x̂0_k − x̂0_{k−1})/r, r = h_{k−1}/h_k.

    Args:
        clip: bound of |x̂0|, instead of the config's `clip_sample`, which diffusers' own DPM-Solver does not have.
        eta: η, the noise in units of DDPM's: 0 solves the ODE and 1 DDPM's SDE, the two values of `algorithm_type`.
            Many small steps have the same distribution with any η (Xue et al. 2023, "SA-Solver": its τ²); a few large
            ones err differently with each.
    """
    if clip is not None and not (math.isfinite(clip) and clip > 0):
        raise ValueError(f"clip must be positive, not {clip}")
    if eta is not None and not 0 <= eta < math.inf:
        raise ValueError(f"eta must be a number that is at least 0, not {eta}")
    settings = read_settings(DPMSolverSettings, scheduler, **_spaced(spacing))
    if eta is None:
        eta = float(settings.algorithm_type == "sde-dpmsolver++")
    theirs = settings.build(DPMSolverMultistepScheduler, lambda_min_clipped=settings.lambda_min_clipped)
    visited, bar = grid(settings, theirs, steps, timesteps)
    last = theirs.alphas_cumprod.double()[0].item() if settings.final_sigmas_type == "sigma_min" else 1.0
    after = following(bar, last)
    step_in_lambda = _log_snr(after) - _log_snr(bar)
    decay = torch.exp(-step_in_lambda)
    a, noise_after = ((1 - after) / (1 - bar)).sqrt(), (1 - after).sqrt()
    shrink = decay ** (1 + eta)
    weight = after.sqrt() * (1 - shrink)
    second = _second_order_weight(settings, after, step_in_lambda, shrink, weight, eta)
    return _table(
        settings,
        visited,
        bar,
        a=a * decay**eta,
        c=weight + second,
        d=-second,
        sigma=noise_after * (1 - decay ** (2 * eta)).sqrt(),
        clip=settings.clip if clip is None else clip,
    )


def _spaced(spacing: str | None) -> dict[str, str]:
    """The change to a config that spreads its timesteps in another way."""
    return {} if spacing is None else {"timestep_spacing": spacing}


def _second_order_weight(
    settings: DPMSolverSettings, after: Tensor, h: Tensor, shrink: Tensor, weight: Tensor, eta: float
) -> Tensor:
    """The second-order correction: added to the weight of x̂0_k, subtracted from that of x̂0_{k−1}; 0 at first-order steps."""
    steps = len(h)
    second_order = torch.arange(steps) > 0
    if settings.solver_order == 1:
        second_order[:] = False
    few = settings.lower_order_final and steps < 15
    if settings.euler_at_final or few or settings.final_sigmas_type == "zero":
        second_order[-1] = False
    if settings.solver_type == "midpoint":
        quotient_weight = 0.5 * weight
    else:
        quotient_weight = after.sqrt() * ((shrink - 1) / ((1 + eta) * h) + 1)
    ratio = torch.cat([torch.ones(1, dtype=h.dtype), h[:-1] / h[1:]])
    # No second order where λ does not change, or changes to infinity: there is no slope to extrapolate.
    return torch.where(second_order & torch.isfinite(h) & (h > 0), quotient_weight / ratio, 0.0)


def _table(settings: Schedule, timesteps: Tensor, bar: Tensor, clip: float | None, **coefficients: Any) -> StepTable:
    """With x̂0 as the schedule's prediction type gives it."""
    from_state, from_prediction = clean_sample_coefficients(bar, settings.prediction_type)
    return assembled(
        timesteps, bar, clip, f"{settings.prediction_type} prediction", from_state, from_prediction, **coefficients
    )


def clean_sample_coefficients(bar: Tensor, prediction_type: str) -> tuple[Tensor, Tensor]:
    """u and v of x̂0 = u x + v prediction, for ᾱ `[T]`."""
    signal, noise = bar.sqrt(), (1 - bar).sqrt()
    match prediction_type:
        case "epsilon":
            return 1 / signal, -noise / signal
        case "sample":
            return torch.zeros_like(signal), torch.ones_like(signal)
        case _:  # v_prediction
            return signal, -noise


def _log_snr(bar: Tensor) -> Tensor:
    return 0.5 * (bar.log() - (1 - bar).log())

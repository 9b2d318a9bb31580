"""Step tables from diffusers scheduler configs: DDPM, DDIM and DPM-Solver++.

Coefficients are computed in float64 from the scheduler's own ᾱ, and always towards the *next timestep of the grid*.
diffusers steps by arithmetic on t in places (its DDIM by N//n), which differs on grids that are not evenly spaced down to 0.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from diffusers import DDIMScheduler, DDPMScheduler, DPMSolverMultistepScheduler
from torch import Tensor

from paradp.sampler.grids import grid
from paradp.sampler.scheduler_config import (
    KINDS,
    DDIMSettings,
    DDPMSettings,
    Described,
    DPMSolverSettings,
    Schedule,
    Scheduler,
)
from paradp.sampler.table import StepTable


def step_table(
    scheduler: Scheduler, steps: int | None = None, timesteps: Sequence[int] | None = None, **options: Any
) -> StepTable:
    """The table of a diffusers scheduler, in float64 on the CPU.

    Args:
        scheduler: a `DDPMScheduler`, `DDIMScheduler` or `DPMSolverMultistepScheduler` of diffusers, its config
            (`scheduler.config`), or the dictionary that `scheduler_config.json` holds.
        steps: T, on the config's own spacing. Unless given: those that the scheduler was set to by its `set_timesteps`, else
            all of the schedule's training steps.
        timesteps: the grid itself, decreasing, instead of `steps`.
        options: `spacing`, another `timestep_spacing` than the config's; for DDIM `eta` and `clipped_epsilon`, see
            `ddim_table`; for DPM-Solver `clip` and `algorithm`, see `dpm_solver_table`.

    Raises:
        ValueError: the scheduler or one of its settings is not supported, malformed or unknown, or the timesteps are not a
            decreasing grid inside the schedule; the message names the setting or the step.
    """
    described = Described.of(scheduler)
    if steps is None and timesteps is None:
        timesteps = described.timesteps
    return _TABLES[KINDS[described.kind]](described, steps, timesteps, **options)


def ddpm_table(
    scheduler: Scheduler | Described,
    steps: int | None = None,
    timesteps: Sequence[int] | None = None,
    spacing: str | None = None,
) -> StepTable:
    """DDPM's posterior (Ho et al. 2020, eq. 7): with α = ᾱ/ᾱ', β = 1 − α and ᾱ' = 1 after the last step

        a = √α (1−ᾱ')/(1−ᾱ),   c = √ᾱ' β/(1−ᾱ),   σ² = β (1−ᾱ')/(1−ᾱ)

    On fewer timesteps than the training's it is DDPM all the same: a coarser discretisation, with more noise a step.
    """
    settings = DDPMSettings.read(scheduler, **_spaced(spacing))
    visited, bar = grid(settings, settings.build(DDPMScheduler), steps, timesteps)
    after = _shifted(bar, 1.0)
    beta = 1 - bar / after
    return _table(
        settings,
        visited,
        bar,
        a=(bar / after).sqrt() * (1 - after) / (1 - bar),
        c=after.sqrt() * beta / (1 - bar),
        sigma=_posterior_deviation(bar, after),
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
    settings = DDIMSettings.read(scheduler, **_spaced(spacing))
    theirs = settings.build(DDIMScheduler, set_alpha_to_one=settings.set_alpha_to_one)
    visited, bar = grid(settings, theirs, steps, timesteps)
    after = _shifted(bar, float(theirs.final_alpha_cumprod))
    sigma = eta * _posterior_deviation(bar, after)
    a = ((1 - after - sigma**2) / (1 - bar)).sqrt()
    clip = settings.clip
    direction = -a * bar.sqrt()
    kept = clip is not None and not clipped_epsilon
    return _table(
        settings,
        visited,
        bar,
        a=a,
        c=after.sqrt() if kept else after.sqrt() + direction,
        r=direction if kept else None,
        sigma=sigma,
        clip=clip,
    )


def dpm_solver_table(
    scheduler: Scheduler | Described,
    steps: int | None = None,
    timesteps: Sequence[int] | None = None,
    clip: float | None = None,
    spacing: str | None = None,
    algorithm: str | None = None,
) -> StepTable:
    """DPM-Solver++ of first order and 2M, as an ODE or an SDE solver (Lu et al. 2022b, eq. 9 and Algorithm 2).

    Follows the config's `solver_order` (1 or 2), `algorithm_type`, `solver_type`, `lower_order_final`, `euler_at_final`,
    `final_sigmas_type` and `lambda_min_clipped`. With λ = log √ᾱ − log √(1−ᾱ) and h the step in λ, the first order is

        x_{k+1} = σ'/σ x_k + √ᾱ' (1 − e^{−h}) x̂0_k

    and the second adds the weight of the difference quotient (x̂0_k − x̂0_{k−1})/r, r = h_{k−1}/h_k.

    Args:
        clip: bound of |x̂0|, instead of the config's `clip_sample`, which diffusers' own DPM-Solver does not have.
        algorithm: another `algorithm_type` than the config's. The SDE form adds noise at every step that does not end at a
            clean sample; its first order is a = σ'/σ e^{−h}, c = √ᾱ' (1 − e^{−2h}), σ_k = σ' √(1 − e^{−2h}).
    """
    if clip is not None and not (math.isfinite(clip) and clip > 0):
        raise ValueError(f"clip must be positive, not {clip}")
    settings = DPMSolverSettings.read(
        scheduler, **_spaced(spacing), **({} if algorithm is None else {"algorithm_type": algorithm})
    )
    theirs = settings.build(DPMSolverMultistepScheduler, lambda_min_clipped=settings.lambda_min_clipped)
    visited, bar = grid(settings, theirs, steps, timesteps)
    last = theirs.alphas_cumprod.double()[0].item() if settings.final_sigmas_type == "sigma_min" else 1.0
    after = _shifted(bar, last)
    step_in_lambda = _log_snr(after) - _log_snr(bar)
    decay = torch.exp(-step_in_lambda)
    a, noise_after = ((1 - after) / (1 - bar)).sqrt(), (1 - after).sqrt()
    sde = settings.algorithm_type == "sde-dpmsolver++"
    shrink = decay**2 if sde else decay
    weight = after.sqrt() * (1 - shrink)
    second = _second_order_weight(settings, after, step_in_lambda, shrink, weight, sde)
    return _table(
        settings,
        visited,
        bar,
        a=a * decay if sde else a,
        c=weight + second,
        d=-second,
        sigma=noise_after * (1 - shrink).sqrt() if sde else torch.zeros_like(bar),
        clip=settings.clip if clip is None else clip,
    )


_TABLES: dict[type[Schedule], Callable[..., StepTable]] = {
    DDPMSettings: ddpm_table,
    DDIMSettings: ddim_table,
    DPMSolverSettings: dpm_solver_table,
}


def _spaced(spacing: str | None) -> dict[str, str]:
    """The change to a config that spreads its timesteps in another way."""
    return {} if spacing is None else {"timestep_spacing": spacing}


def _second_order_weight(
    settings: DPMSolverSettings, after: Tensor, h: Tensor, shrink: Tensor, weight: Tensor, sde: bool
) -> Tensor:
    """What x̂0_k gains and x̂0_{k−1} loses by the second order; 0 at steps of first order."""
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
        rate = 2 * h if sde else h
        quotient_weight = after.sqrt() * ((shrink - 1) / rate + 1)
    ratio = torch.cat([torch.ones(1, dtype=h.dtype), h[:-1] / h[1:]])
    # Where λ does not move, or moves to infinity, the second order has nothing to extrapolate.
    return torch.where(second_order & torch.isfinite(h) & (h > 0), quotient_weight / ratio, 0.0)


def _table(
    settings: Schedule,
    timesteps: Tensor,
    bar: Tensor,
    *,
    a: Tensor,
    c: Tensor,
    sigma: Tensor,
    clip: float | None,
    r: Tensor | None = None,
    d: Tensor | None = None,
) -> StepTable:
    from_state, from_prediction = _clean_sample_coefficients(bar, settings.prediction_type)
    posterior = _posterior_deviation(bar, _shifted(bar, 1.0))
    positive = posterior[posterior > 0]
    smallest = positive.amin() if len(positive) else torch.ones((), dtype=bar.dtype)
    table = StepTable(
        timesteps=timesteps,
        alpha_bar=bar,
        a=a,
        c=c,
        r=torch.zeros_like(a) if r is None else r,
        d=torch.zeros_like(a) if d is None else d,
        sigma=sigma,
        from_state=from_state,
        from_prediction=from_prediction,
        scale=torch.cat([torch.where(posterior > 0, posterior, smallest), smallest[None]]),
        clip=clip,
    )
    finite = torch.stack(
        [table.a, table.c, table.r, table.d, table.sigma, table.from_state, table.from_prediction]
    ).isfinite()
    if not finite.all():
        step = int((~finite.all(0)).nonzero()[0])
        raise ValueError(
            f"step {step} (timestep {int(timesteps[step])}, ᾱ = {bar[step]:.1e}) has no finite coefficients with"
            f" {settings.prediction_type} prediction"
        )
    return table


def _clean_sample_coefficients(bar: Tensor, prediction_type: str) -> tuple[Tensor, Tensor]:
    signal, noise = bar.sqrt(), (1 - bar).sqrt()
    match prediction_type:
        case "epsilon":
            return 1 / signal, -noise / signal
        case "sample":
            return torch.zeros_like(signal), torch.ones_like(signal)
        case _:  # v_prediction
            return signal, -noise


def _posterior_deviation(bar: Tensor, after: Tensor) -> Tensor:
    return ((1 - bar / after) * (1 - after) / (1 - bar)).sqrt()


def _log_snr(bar: Tensor) -> Tensor:
    return 0.5 * (bar.log() - (1 - bar).log())


def _shifted(bar: Tensor, last: float) -> Tensor:
    """ᾱ' of each step: that of the next timestep of the grid, and `last` at the end."""
    return torch.cat([bar[1:], bar.new_tensor([last])])

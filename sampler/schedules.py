"""Step tables from diffusers scheduler configs: DDPM, DDIM and DPM-Solver++.

Coefficients are computed in float64 from the scheduler's own ᾱ, and always towards the *next timestep of the grid*.
diffusers steps by arithmetic on t in places (its DDIM by N//n), which differs on grids that are not evenly spaced down to 0.
"""

import math
import numbers
from collections.abc import Callable, Sequence
from typing import Any

import torch
from diffusers import DDIMScheduler, DDPMScheduler, DPMSolverMultistepScheduler
from torch import Tensor

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
        options: for DDIM `eta` and `clipped_epsilon`, see `ddim_table`; for DPM-Solver `clip`, see `dpm_solver_table`.

    Raises:
        ValueError: the scheduler or one of its settings is not supported, malformed or unknown, or the timesteps are not a
            decreasing grid inside the schedule; the message names the setting or the step.
    """
    described = Described.of(scheduler)
    if steps is None and timesteps is None:
        timesteps = described.timesteps
    return _TABLES[KINDS[described.kind]](described, steps, timesteps, **options)


def ddpm_table(
    scheduler: Scheduler | Described, steps: int | None = None, timesteps: Sequence[int] | None = None
) -> StepTable:
    """DDPM's posterior (Ho et al. 2020, eq. 7): with α = ᾱ/ᾱ', β = 1 − α and ᾱ' = 1 after the last step

    a = √α (1−ᾱ')/(1−ᾱ),   c = √ᾱ' β/(1−ᾱ),   σ² = β (1−ᾱ')/(1−ᾱ)
    """
    settings = DDPMSettings.read(scheduler)
    grid, bar = _grid(settings, settings.build(DDPMScheduler), steps, timesteps)
    after = _shifted(bar, 1.0)
    beta = 1 - bar / after
    return _table(
        settings,
        grid,
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
        spacing: another `timestep_spacing` than the config's.
    """
    if not 0 <= eta <= 1:
        raise ValueError(f"eta must be between 0 and 1, not {eta}")
    settings = DDIMSettings.read(scheduler, **({} if spacing is None else {"timestep_spacing": spacing}))
    theirs = settings.build(DDIMScheduler, set_alpha_to_one=settings.set_alpha_to_one)
    grid, bar = _grid(settings, theirs, steps, timesteps)
    after = _shifted(bar, float(theirs.final_alpha_cumprod))
    sigma = eta * _posterior_deviation(bar, after)
    a = ((1 - after - sigma**2) / (1 - bar)).sqrt()
    clip = settings.clip
    direction = -a * bar.sqrt()
    kept = clip is not None and not clipped_epsilon
    return _table(
        settings,
        grid,
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
) -> StepTable:
    """DPM-Solver++ of first order and 2M, as an ODE or an SDE solver (Lu et al. 2022b, eq. 9 and Algorithm 2).

    Follows the config's `solver_order` (1 or 2), `algorithm_type`, `solver_type`, `lower_order_final`, `euler_at_final`,
    `final_sigmas_type` and `lambda_min_clipped`. With λ = log √ᾱ − log √(1−ᾱ) and h the step in λ, the first order is

        x_{k+1} = σ'/σ x_k + √ᾱ' (1 − e^{−h}) x̂0_k

    and the second adds the weight of the difference quotient (x̂0_k − x̂0_{k−1})/r, r = h_{k−1}/h_k.

    Args:
        clip: bound of |x̂0|, instead of the config's `clip_sample`, which diffusers' own DPM-Solver does not have.
    """
    if clip is not None and not (math.isfinite(clip) and clip > 0):
        raise ValueError(f"clip must be positive, not {clip}")
    settings = DPMSolverSettings.read(scheduler)
    theirs = settings.build(DPMSolverMultistepScheduler, lambda_min_clipped=settings.lambda_min_clipped)
    grid, bar = _grid(settings, theirs, steps, timesteps)
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
        grid,
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


def _grid(settings: Schedule, scheduler: Any, steps: int | None, timesteps: Sequence[int] | None) -> tuple[Tensor, Tensor]:
    """The timesteps `[T]` and ᾱ at each of them."""
    trained = settings.num_train_timesteps
    if timesteps is not None:
        if steps is not None:
            raise ValueError("steps and timesteps cannot both be given: timesteps are the whole grid")
        grid, so_spaced = [_whole(t, "a timestep") for t in timesteps], ""
    else:
        wanted = trained if steps is None else _whole(steps, "the number of steps")
        if wanted < 1:
            raise ValueError(f"the schedule needs at least one step, not {wanted}")
        if wanted > trained:
            raise ValueError(f"{wanted} steps are too many: the network was trained with {trained} timesteps")
        scheduler.set_timesteps(wanted)
        grid = scheduler.timesteps.tolist()
        so_spaced = f"{wanted} steps are too many for {trained} timesteps so spaced"
        so_spaced += f" (steps_offset = {settings.steps_offset}): " if settings.steps_offset else ": "
    if not grid:
        raise ValueError("the schedule has no timesteps")
    for step, t in enumerate(grid):
        if not 0 <= t < trained:
            raise ValueError(f"{so_spaced}step {step} is at timestep {t}, outside 0 … {trained - 1}")
        if step and t >= grid[step - 1]:
            raise ValueError(f"{so_spaced}timesteps must decrease, but step {step} goes from {grid[step - 1]} to {t}")
    return torch.tensor(grid), scheduler.alphas_cumprod.double()[grid]


def _whole(number: Any, name: str) -> int:
    """numpy's and torch's whole numbers as well."""
    value = number.item() if isinstance(number, Tensor) and number.ndim == 0 else number
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise ValueError(f"{name} must be a whole number, not {value!r}")
    return int(value)


def _table(
    settings: Schedule,
    grid: Tensor,
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
        timesteps=grid,
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
            f"step {step} (timestep {int(grid[step])}, ᾱ = {bar[step]:.1e}) has no finite coefficients with"
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

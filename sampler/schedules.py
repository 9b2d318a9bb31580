"""Step tables from diffusers scheduler configs: DDPM, DDIM and DPM-Solver++.

Coefficients are computed in float64 from the scheduler's own ᾱ, and always towards the *next timestep of the grid*.
diffusers steps by arithmetic on t in places (its DDIM by N//n), which differs on grids that are not evenly spaced down to 0.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, get_args

import torch
from diffusers import DDIMScheduler, DDPMScheduler, DPMSolverMultistepScheduler
from torch import Tensor

from paradp.sampler.options import Spacing
from paradp.sampler.table import StepTable

Config = Mapping[str, Any]
# How T timesteps are spread over the training's N (diffusers' names; Lin et al. 2024, table 2): `leading` ends at 0 and does
# not start at N − 1, `trailing` starts there and ends above 0, `linspace` takes both ends.


def step_table(
    config: Config, steps: int | None = None, timesteps: Sequence[int] | None = None, **options: Any
) -> StepTable:
    """The table of a diffusers scheduler config, in float64 on the CPU.

    Args:
        config: a config as diffusers schedulers save it: of `DDPMScheduler`, `DDIMScheduler` or
            `DPMSolverMultistepScheduler`.
        steps: T, on the config's own spacing; the schedule's training steps unless given.
        timesteps: the grid itself, decreasing, instead of `steps`.
        options: for DDIM `eta` and `clipped_epsilon`, see `ddim_table`; for DPM-Solver `clip`, see `dpm_solver_table`.

    Raises:
        ValueError: the scheduler or one of its settings is not supported, or the timesteps are not a decreasing grid inside
            the schedule; the message names the setting or the step.
    """
    name = config.get("_class_name", "")
    if name not in _TABLES:
        raise ValueError(f"no step table for the scheduler {name!r}; there are: {', '.join(_TABLES)}")
    return _TABLES[name](config, steps, timesteps, **options)


def ddpm_table(config: Config, steps: int | None = None, timesteps: Sequence[int] | None = None) -> StepTable:
    """DDPM's posterior (Ho et al. 2020, eq. 7): with α = ᾱ/ᾱ', β = 1 − α and ᾱ' = 1 after the last step

    a = √α (1−ᾱ')/(1−ᾱ),   c = √ᾱ' β/(1−ᾱ),   σ² = β (1−ᾱ')/(1−ᾱ)
    """
    scheduler = _scheduler(DDPMScheduler, config)
    _require(scheduler.config, variance_type="fixed_small", thresholding=False)
    grid, bar = _grid(scheduler, steps, timesteps)
    after = _shifted(bar, 1.0)
    beta = 1 - bar / after
    return _table(
        scheduler.config,
        grid,
        bar,
        a=(bar / after).sqrt() * (1 - after) / (1 - bar),
        c=after.sqrt() * beta / (1 - bar),
        sigma=_posterior_deviation(bar, after),
        clip=_clip(scheduler.config),
    )


def ddim_table(
    config: Config,
    steps: int | None = None,
    timesteps: Sequence[int] | None = None,
    eta: float = 0.0,
    clipped_epsilon: bool = False,
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
    scheduler = _scheduler(DDIMScheduler, config)
    _require(scheduler.config, thresholding=False)
    grid, bar = _grid(scheduler, steps, timesteps)
    after = _shifted(bar, float(scheduler.final_alpha_cumprod))
    sigma = eta * _posterior_deviation(bar, after)
    a = ((1 - after - sigma**2) / (1 - bar)).sqrt()
    clip = _clip(scheduler.config)
    direction = -a * bar.sqrt()
    kept = clip is not None and not clipped_epsilon
    return _table(
        scheduler.config,
        grid,
        bar,
        a=a,
        c=after.sqrt() if kept else after.sqrt() + direction,
        r=direction if kept else None,
        sigma=sigma,
        clip=clip,
    )


def dpm_solver_table(
    config: Config,
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
        clip: bound of |x̂0|; diffusers' class has none, a policy trained with clipping wants one.
    """
    scheduler = _scheduler(DPMSolverMultistepScheduler, config)
    settings = scheduler.config
    _require(settings, thresholding=False, use_karras_sigmas=False, use_exponential_sigmas=False, use_beta_sigmas=False)
    _require(settings, use_lu_lambdas=False, use_flow_sigmas=False, variance_type=None)
    if settings.solver_order not in (1, 2):
        raise ValueError(f"solver_order = {settings.solver_order} is not supported; 1 and 2 are")
    if settings.algorithm_type not in ("dpmsolver++", "sde-dpmsolver++"):
        raise ValueError(
            f"algorithm_type = {settings.algorithm_type!r} is not supported; dpmsolver++ and sde-dpmsolver++ are"
        )
    grid, bar = _grid(scheduler, steps, timesteps)
    last = scheduler.alphas_cumprod.double()[0].item() if settings.final_sigmas_type == "sigma_min" else 1.0
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
        clip=clip,
    )


_TABLES: dict[str, Callable[..., StepTable]] = {
    "DDPMScheduler": ddpm_table,
    "DDIMScheduler": ddim_table,
    "DPMSolverMultistepScheduler": dpm_solver_table,
}


def _second_order_weight(settings: Any, after: Tensor, h: Tensor, shrink: Tensor, weight: Tensor, sde: bool) -> Tensor:
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


def _scheduler(kind: Any, config: Config) -> Any:
    """diffusers' scheduler of a config; every kind with every beta schedule that DDPM's knows."""
    settings = dict(config)
    try:
        if settings.get("beta_schedule") == "sigmoid" and settings.get("trained_betas") is None:
            # Only DDPMScheduler has it.
            settings["trained_betas"] = DDPMScheduler.from_config(
                settings | {"rescale_betas_zero_snr": False}
            ).betas.tolist()
        return kind.from_config(settings)
    except (NotImplementedError, TypeError) as error:
        raise ValueError(f"the noise schedule cannot be read: {error}") from error


def _grid(scheduler: Any, steps: int | None, timesteps: Sequence[int] | None) -> tuple[Tensor, Tensor]:
    """The timesteps `[T]` and ᾱ at each of them."""
    train_steps = scheduler.config.num_train_timesteps
    if (spacing := scheduler.config.timestep_spacing) not in get_args(Spacing):
        raise ValueError(f"timestep_spacing cannot be {spacing!r}; it is one of {', '.join(get_args(Spacing))}")
    if timesteps is None:
        wanted = train_steps if steps is None else steps
        if wanted < 1:
            raise ValueError(f"the schedule needs at least one step, not {wanted}")
        if wanted > train_steps:
            raise ValueError(f"{wanted} steps are too many: the network was trained with {train_steps} timesteps")
        scheduler.set_timesteps(wanted)
        grid = scheduler.timesteps.to(torch.int64)
    else:
        grid = torch.tensor(list(timesteps), dtype=torch.int64)
    if len(grid) == 0:
        raise ValueError("the schedule has no timesteps")
    for step, t in enumerate(grid.tolist()):
        if not 0 <= t < train_steps:
            raise ValueError(f"step {step} is at timestep {t}, outside 0 … {train_steps - 1}")
        if step and t >= grid[step - 1]:
            reason = "" if timesteps else f"{len(grid)} steps are too many for {train_steps} timesteps so spaced: "
            raise ValueError(f"{reason}timesteps must decrease, but step {step} goes from {grid[step - 1]} to {t}")
    return grid, scheduler.alphas_cumprod.double()[grid]


def _table(
    settings: Any,
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
        case "v_prediction":
            return signal, -noise
        case _:
            raise ValueError(f"unknown prediction type {prediction_type!r}; there are: epsilon, sample, v_prediction")


def _posterior_deviation(bar: Tensor, after: Tensor) -> Tensor:
    return ((1 - bar / after) * (1 - after) / (1 - bar)).sqrt()


def _log_snr(bar: Tensor) -> Tensor:
    return 0.5 * (bar.log() - (1 - bar).log())


def _shifted(bar: Tensor, last: float) -> Tensor:
    """ᾱ' of each step: that of the next timestep of the grid, and `last` at the end."""
    return torch.cat([bar[1:], bar.new_tensor([last])])


def _clip(settings: Any) -> float | None:
    return settings.clip_sample_range if settings.clip_sample else None


def _require(settings: Any, **wanted: Any) -> None:
    for key, value in wanted.items():
        if settings.get(key, value) != value:
            raise ValueError(f"{key} = {settings[key]!r} is not supported; only {value!r} is")

"""The settings of diffusers schedulers that a step table uses: a class for each kind of scheduler, diffusers' defaults."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
import torch
from diffusers import DDPMScheduler
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from paradp.sampler.options import MOST_TIMESTEPS, Process, Spacing


def whole(value: Any) -> Any:
    """JSON written by other languages has 100.0 for 100."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _number(value: float) -> float:
    if np.isnan(value):
        raise ValueError("it must be a number")
    return value


Whole = Annotated[int, BeforeValidator(whole)]
Number = Annotated[float, Field(allow_inf_nan=False)]
Fraction = Annotated[float, Field(gt=0, lt=1)]
Betas = Annotated[tuple[Number, ...], Field(strict=False)]


class SchedulerSettings(BaseModel):
    """The settings that all kinds of schedulers share.

    Attributes:
        process: the process that a network with such a config was trained for.
        converted: defaults for settings that are missing in the config of another class.
    """

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")
    process: ClassVar[Process]
    converted: ClassVar[Mapping[str, Any]] = {}

    num_train_timesteps: Annotated[Whole, Field(ge=1, le=MOST_TIMESTEPS)] = 1000


class Schedule(SchedulerSettings):
    """The noise schedule that a network was trained with, and the settings that all diffusion tables share.

    Attributes:
        variance_type: only DDPM uses it. Learned variances are refused for every table, because such a network predicts
            twice as many channels.
        dynamic_thresholding_ratio, sample_max_value: settings of thresholding, which is not supported; they are ignored.
    """

    process: ClassVar[Process] = "diffusion"

    beta_start: Fraction = 0.0001
    beta_end: Fraction = 0.02
    beta_schedule: Literal["linear", "scaled_linear", "squaredcos_cap_v2", "sigmoid", "laplace"] = "linear"
    trained_betas: Betas | None = None
    rescale_betas_zero_snr: bool = False
    prediction_type: Literal["epsilon", "sample", "v_prediction"] = "epsilon"
    timestep_spacing: Spacing = "leading"
    steps_offset: Annotated[Whole, Field(ge=0)] = 0
    variance_type: Literal["fixed_small", "fixed_small_log", "fixed_large", "fixed_large_log", None] = None
    clip_sample: bool = True
    clip_sample_range: Annotated[Number, Field(gt=0)] = 1.0
    thresholding: Literal[False] = False
    dynamic_thresholding_ratio: Any = None
    sample_max_value: Any = None

    @model_validator(mode="after")
    def _a_beta_for_every_timestep(self) -> Self:
        if self.trained_betas is not None:
            if len(self.trained_betas) != self.num_train_timesteps:
                raise ValueError(
                    f"trained_betas has {len(self.trained_betas)} entries for num_train_timesteps ="
                    f" {self.num_train_timesteps}: it needs one for each timestep"
                )
            # As diffusers computes with them.
            betas = torch.tensor(self.trained_betas, dtype=torch.float32)
            if not (inside := (betas > 0) & (betas < 1)).all():
                first = int((~inside).nonzero()[0])
                raise ValueError(f"trained_betas[{first}] = {self.trained_betas[first]}: every β must lie between 0 and 1")
        return self

    @property
    def clip(self) -> float | None:
        """Bound of |x̂0|."""
        return self.clip_sample_range if self.clip_sample else None

    def betas(self) -> list[float]:
        """β of every timestep before rescaling, from diffusers' DDPM class, which supports every schedule."""
        return DDPMScheduler(
            num_train_timesteps=self.num_train_timesteps,
            beta_start=self.beta_start,
            beta_end=self.beta_end,
            beta_schedule=self.beta_schedule,
            trained_betas=None if self.trained_betas is None else list(self.trained_betas),
        ).betas.tolist()

    def build(self, kind: Any, **settings: Any) -> Any:
        """diffusers' scheduler of a class, for its grids and its ᾱ."""
        return kind(
            num_train_timesteps=self.num_train_timesteps,
            trained_betas=self.betas(),
            rescale_betas_zero_snr=self.rescale_betas_zero_snr,
            timestep_spacing=self.timestep_spacing,
            steps_offset=self.steps_offset,
            **settings,
        )


class DDPMSettings(Schedule):
    """Settings of `DDPMScheduler`. Its default variance is the small one."""

    variance_type: Literal["fixed_small", None] = "fixed_small"  # type: ignore[assignment]


class DDIMSettings(Schedule):
    """Settings of `DDIMScheduler`."""

    set_alpha_to_one: bool = True


class DPMSolverSettings(Schedule):
    """Settings of `DPMSolverMultistepScheduler`.

    diffusers' class has no `clip_sample`. If a config has it nevertheless, or is a config of DDPM or DDIM, which clip by
    default, x̂0 is clipped here too: a network trained with clipping needs it with every sampler.

    Attributes:
        flow_shift, time_shift_type: settings of flow schedules and dynamic shifting, which are not supported; ignored.
    """

    converted: ClassVar[Mapping[str, Any]] = {"clip_sample": True}

    timestep_spacing: Spacing = "linspace"
    clip_sample: bool = False
    solver_order: Literal[1, 2] = 2
    algorithm_type: Literal["dpmsolver++", "sde-dpmsolver++"] = "dpmsolver++"
    solver_type: Literal["midpoint", "heun"] = "midpoint"
    lower_order_final: bool = True
    euler_at_final: bool = False
    final_sigmas_type: Literal["zero", "sigma_min"] = "zero"
    lambda_min_clipped: Annotated[float, AfterValidator(_number)] = -float("inf")
    use_karras_sigmas: Literal[False] = False
    use_exponential_sigmas: Literal[False] = False
    use_beta_sigmas: Literal[False] = False
    use_lu_lambdas: Literal[False] = False
    use_flow_sigmas: Literal[False] = False
    use_dynamic_shifting: Literal[False] = False
    flow_shift: Any = None
    time_shift_type: Any = None


class ConsistencySettings(Schedule):
    """Settings of `LCMScheduler`, for a network that was distilled from a diffusion model with this schedule.

    Attributes:
        timestep_scaling: how fast c_skip decreases from 1 at timestep 0.
        original_inference_steps, set_alpha_to_one: settings of diffusers' own grid; ignored, as our grids are given.
    """

    process: ClassVar[Process] = "consistency"

    beta_start: Fraction = 0.00085
    beta_end: Fraction = 0.012
    beta_schedule: Literal["linear", "scaled_linear", "squaredcos_cap_v2", "sigmoid", "laplace"] = "scaled_linear"
    clip_sample: bool = False
    timestep_scaling: Annotated[Number, Field(gt=0)] = 10.0
    original_inference_steps: Any = None
    set_alpha_to_one: Any = None


class FlowSettings(SchedulerSettings):
    """Settings of `FlowMatchEulerDiscreteScheduler` with a constant shift.

    Attributes:
        shift: s of τ → s τ / (1 + (s−1) τ). Below 0.01, diffusers' float32 is not accurate enough.
        base_shift, max_shift, base_image_seq_len, max_image_seq_len, time_shift_type: settings of dynamic shifting, which is
            not supported; ignored.
    """

    process: ClassVar[Process] = "flow"

    shift: Annotated[Number, Field(ge=0.01)] = 1.0
    use_dynamic_shifting: Literal[False] = False
    invert_sigmas: Literal[False] = False
    shift_terminal: None = None
    use_karras_sigmas: Literal[False] = False
    use_exponential_sigmas: Literal[False] = False
    use_beta_sigmas: Literal[False] = False
    stochastic_sampling: Literal[False] = False
    base_shift: Any = None
    max_shift: Any = None
    base_image_seq_len: Any = None
    max_image_seq_len: Any = None
    time_shift_type: Any = None

"""diffusers scheduler configs, read and checked: every setting is used, known not to matter, or refused by name.

diffusers ignores settings that a class does not know, and every one of its classes knows others. A setting that is ignored
here would change the samples without a word, so a config is first read as what its own class makes of it (`Described`), and
then into the settings that a table uses (`Schedule` and its kinds). Defaults are diffusers'.
"""

import reprlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
import torch
from diffusers import (
    DDIMParallelScheduler,
    DDIMScheduler,
    DDPMParallelScheduler,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    FlowMatchEulerDiscreteScheduler,
    LCMScheduler,
)
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from paradp.sampler.options import MOST_TIMESTEPS, Process, Spacing

# A diffusers scheduler, or its config: `scheduler.config`, or what `scheduler_config.json` holds.
Scheduler = Any


def _plain(value: Any) -> Any:
    """Python's own numbers and lists for numpy's and torch's."""
    return value.tolist() if isinstance(value, np.ndarray | np.generic | torch.Tensor) else value


def _whole(value: Any) -> Any:
    """JSON written by other languages has 100.0 for 100."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _number(value: float) -> float:
    if np.isnan(value):
        raise ValueError("it must be a number")
    return value


Whole = Annotated[int, BeforeValidator(_whole)]
Number = Annotated[float, Field(allow_inf_nan=False)]
Fraction = Annotated[float, Field(gt=0, lt=1)]
Betas = Annotated[tuple[Number, ...], Field(strict=False)]


# What a network was trained for → how an error says it, and what to sample it with.
_MADE: dict[Process, tuple[str, str]] = {
    "diffusion": ("is a diffusion model, not distilled and no flow", "a sampler such as ddpm, ddim-10 or speculative-ddpm"),
    "consistency": ("was distilled into a consistency model", "consistency-N, such as consistency-2"),
    "flow": ("was trained by flow matching", "flow-N, such as flow-10"),
}


class Settings(BaseModel):
    """What is read of a scheduler's config, whatever its class.

    Attributes:
        process: what a network with such a config was trained for.
    """

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")
    process: ClassVar[Process]

    num_train_timesteps: Annotated[Whole, Field(ge=1, le=MOST_TIMESTEPS)] = 1000

    @classmethod
    def read(cls, scheduler: "Scheduler | Described", **changes: Any) -> Self:
        """The settings of a scheduler, as diffusers' class of this kind would take them over, with changes.

        Raises:
            ValueError: the network was trained for another process; or a setting is malformed, not supported or unknown,
                and the message names it.
        """
        described = Described.of(scheduler)
        if (trained := KINDS[described.kind].process) != cls.process:
            is_so, sampler = _MADE[trained]
            raise ValueError(f"the network {is_so}; use {sampler}")
        settings = described.settings | changes
        # Settings that only other classes have mean nothing to this one, to diffusers neither.
        meaningless = _KNOWN - cls.model_fields.keys()
        try:
            return cls(**{key: value for key, value in settings.items() if key not in meaningless})
        except ValidationError as error:
            raise ValueError(_sentence(error)) from None


class Schedule(Settings):
    """The noise schedule that a network was trained with, and what every kind of table needs besides.

    Attributes:
        variance_type: DDPM's alone; but a network that learned a variance predicts twice as many channels, which no table
            reads.
        dynamic_thresholding_ratio, sample_max_value: settings of thresholding, which is refused.
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
        """β of every timestep, before it is rescaled: by DDPM's class of diffusers, which knows every schedule."""
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
    """Of `DDPMScheduler`. Without a variance type it takes the small one."""

    variance_type: Literal["fixed_small", None] = "fixed_small"  # type: ignore[assignment]


class DDIMSettings(Schedule):
    """Of `DDIMScheduler`."""

    set_alpha_to_one: bool = True


class DPMSolverSettings(Schedule):
    """Of `DPMSolverMultistepScheduler`.

    diffusers' class has no `clip_sample`. Where a config has it all the same, or is one of DDPM or DDIM, which clip unless
    they are told not to, x̂0 is clipped: a network trained with clipping wants it from every sampler.

    Attributes:
        flow_shift, time_shift_type: settings of flow schedules and of shifts that are given with the timesteps.
    """

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

    @classmethod
    def read(cls, scheduler: "Scheduler | Described", **changes: Any) -> Self:
        described = Described.of(scheduler)
        clips = {} if described.kind is DPMSolverMultistepScheduler else {"clip_sample": True}
        return super().read(described, **(clips | described.settings | changes))


class ConsistencySettings(Schedule):
    """Of `LCMScheduler`: a network that was distilled from one of the schedule.

    Attributes:
        timestep_scaling: how fast c_skip falls from 1 at timestep 0.
        original_inference_steps, set_alpha_to_one: choose and end grids of diffusers' own; our grids are given.
    """

    process: ClassVar[Process] = "consistency"

    beta_start: Fraction = 0.00085
    beta_end: Fraction = 0.012
    beta_schedule: Literal["linear", "scaled_linear", "squaredcos_cap_v2", "sigmoid", "laplace"] = "scaled_linear"
    clip_sample: bool = False
    timestep_scaling: Annotated[Number, Field(gt=0)] = 10.0
    original_inference_steps: Any = None
    set_alpha_to_one: Any = None


class FlowSettings(Settings):
    """Of `FlowMatchEulerDiscreteScheduler`, without shifts of its timesteps.

    Attributes:
        base_shift, max_shift, base_image_seq_len, max_image_seq_len, time_shift_type: settings of dynamic shifting.
    """

    process: ClassVar[Process] = "flow"

    shift: Annotated[float, Field(ge=1, le=1)] = 1.0
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


# diffusers' classes. The parallel ones are those that it made for ParaDiGMS: the same steps.
KINDS: dict[Any, type[Settings]] = {
    DDPMScheduler: DDPMSettings,
    DDIMScheduler: DDIMSettings,
    DPMSolverMultistepScheduler: DPMSolverSettings,
    DDPMParallelScheduler: DDPMSettings,
    DDIMParallelScheduler: DDIMSettings,
    LCMScheduler: ConsistencySettings,
    FlowMatchEulerDiscreteScheduler: FlowSettings,
}
_BY_NAME = {kind.__name__: kind for kind in KINDS}
# What other schedulers of diffusers read (PNDM, UniPC, Euler, EDM, DPM-Solver SDE, Heun) and none of the above: it comes
# along in configs that were converted, such as those of Stable Diffusion, and means nothing to these classes.
OF_OTHER_SCHEDULERS = frozenset(
    {
        "disable_corrector",
        "interpolation_type",
        "noise_sampler_seed",
        "predict_x0",
        "rho",
        "sigma_data",
        "sigma_max",
        "sigma_min",
        "sigma_schedule",
        "skip_prk_steps",
        "solver_p",
        "timestep_type",
    }
)


_KNOWN = OF_OTHER_SCHEDULERS.union(*(settings.model_fields for settings in KINDS.values()))


@dataclass(frozen=True)
class Described:
    """A scheduler as its own class understands it.

    Attributes:
        kind: its class.
        settings: those that were set.
        timesteps: the grid that `set_timesteps` gave a scheduler object, else `None`.
    """

    kind: Any
    settings: dict[str, Any]
    timesteps: list[int] | None = None

    @classmethod
    def of(cls, scheduler: "Scheduler | Described") -> "Described":
        """Of a scheduler object or a config.

        Raises:
            ValueError: it is neither, or of a class that has no table.
        """
        if isinstance(scheduler, Described):
            return scheduler
        if isinstance(scheduler, Mapping):
            name = scheduler.get("_class_name")
            kind = _class_with_exactly(scheduler) if name is None else _class_named(name)
            return cls(kind, _settings_that_were_set(kind, scheduler))
        if not isinstance(config := getattr(scheduler, "config", None), Mapping):
            raise ValueError(f"a diffusers scheduler or its config is needed, not {reprlib.repr(scheduler)}")
        kind = _class_named(type(scheduler).__name__)
        if type(scheduler) is not kind:
            raise ValueError(f"no step table for {kind.__name__} of {type(scheduler).__module__}: only for diffusers' own")
        chosen = getattr(scheduler, "num_inference_steps", None) is not None or getattr(scheduler, "custom_timesteps", False)
        # A flow's are whole numbers held as floats.
        grid = [_whole(t) for t in scheduler.timesteps.tolist()] if chosen else None
        return cls(kind, _settings_that_were_set(kind, config), grid)


def _class_named(name: Any) -> Any:
    if not isinstance(name, str) or name not in _BY_NAME:
        raise ValueError(f"no step table for the scheduler {reprlib.repr(name)}; there are: {', '.join(_BY_NAME)}")
    return _BY_NAME[name]


def _class_with_exactly(config: Mapping[str, Any]) -> Any:
    """The class of `scheduler.config`, which has every setting of its class, but not the class's name."""
    settings = _public(config).keys()
    # diffusers' TCDScheduler, which steps otherwise, has the settings of LCMScheduler.
    for kind in [kind for kind in KINDS if kind is not LCMScheduler]:
        if settings == _public(kind().config).keys():
            return kind
    raise ValueError(
        "the scheduler config does not say of which class it is (_class_name), and its settings are not those of one class:"
        " pass the scheduler itself, or add _class_name"
    )


def _settings_that_were_set(kind: Any, config: Mapping[str, Any]) -> dict[str, Any]:
    """Without defaults that nobody chose (for another class of scheduler, its own defaults count)."""
    settings = _public(config)
    defaults = _public(kind().config)
    noted = config.get("_use_default_values")
    unchosen = noted if isinstance(noted, list | tuple) else ()
    # A setting that a later diffusers brought is off by default: it changes nothing then.
    idle = {key for key in settings if key in unchosen or key not in KINDS[kind].model_fields}
    return {
        key: value for key, value in settings.items() if not (key in idle and key in defaults and value == defaults[key])
    }


def _public(config: Mapping[str, Any]) -> dict[str, Any]:
    """The settings alone: keys with an underscore are diffusers' notes to itself."""
    return {str(key): _plain(value) for key, value in config.items() if not str(key).startswith("_")}


def _sentence(error: ValidationError) -> str:
    """Of the first thing that is wrong."""
    wrong = error.errors(include_url=False)[0]
    if not wrong["loc"]:
        return wrong["msg"].removeprefix("Value error, ")
    key = "".join(f"[{part}]" if isinstance(part, int) else str(part) for part in wrong["loc"])
    if wrong["type"] == "extra_forbidden":
        return f"the scheduler config has a setting {key!r} that is not known here and may change the samples: remove it"
    reason = wrong["msg"].removeprefix("Value error, ").replace("Input should be", "it must be")
    return f"{key} = {reprlib.repr(wrong['input'])} is not supported: {reason}"

"""Settings of the noising processes; `paradp.policy.process` implements them.

`ProcessConfig` lists the processes that can be trained. `paradp train` has an option for each of their settings.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from paradp.policy.errors import SettingError
from paradp.policy.settings import Settings, not_a_setting_here, setting

_BETA_START, _BETA_END = 1e-3, 0.2
_WITH_BETAS = "a beta_schedule such as linear"


class Trainable(Settings, ABC):
    """A process that can be trained."""

    kind: ClassVar[str]

    @property
    @abstractmethod
    def schedule(self) -> dict[str, Any]:
        """The diffusers scheduler config."""

    def settings(self) -> dict[str, Any]:
        return {"process": self.kind} | super().settings()


# These names are stored in training states, so they must not change.
@dataclass(frozen=True)
class DiffusionConfig(Trainable):
    """Diffusion over 100 timesteps, of clipped samples; by default that of Diffusion Policy (Nichol & Dhariwal's cosine).

    Attributes:
        prediction_type: what the network predicts: the noise (`epsilon`), the clean actions (`sample`) or `v_prediction`.
        beta_schedule: diffusers' name of the noise schedule.
        beta_start: noise of the first of 100 steps (ten times the usual value for 1000 steps), for schedules such as
            `linear`.
        beta_end: the same for the last step.
    """

    kind: ClassVar[str] = "diffusion"
    prediction_type: Literal["epsilon", "sample", "v_prediction"] = "epsilon"
    beta_schedule: Literal["squaredcos_cap_v2", "linear", "scaled_linear", "sigmoid"] = "squaredcos_cap_v2"
    beta_start: float | None = setting(None, owner=_WITH_BETAS, in_force=_BETA_START)
    beta_end: float | None = setting(None, owner=_WITH_BETAS, in_force=_BETA_END)

    def __post_init__(self) -> None:
        super().__post_init__()
        given = {"beta_start": self.beta_start, "beta_end": self.beta_end}
        for name, value in given.items():
            if value is not None and not self.betas:
                raise not_a_setting_here(name, _WITH_BETAS)
        if self.betas and not 0 < self.betas["beta_start"] <= self.betas["beta_end"] < 1:
            raise SettingError("0 < beta_start ≤ beta_end < 1 is needed, not {} and {}".format(*self.betas.values()), *given)

    @property
    def betas(self) -> dict[str, float]:
        """`beta_start` and `beta_end` in effect; empty if the schedule has none."""
        if self.beta_schedule == "squaredcos_cap_v2":
            return {}
        start, end = self.beta_start, self.beta_end
        return {"beta_start": _BETA_START if start is None else start, "beta_end": _BETA_END if end is None else end}

    @property
    def schedule(self) -> dict[str, Any]:
        return {
            "_class_name": "DDPMScheduler",
            "num_train_timesteps": 100,
            "beta_schedule": self.beta_schedule,
            "prediction_type": self.prediction_type,
            "variance_type": "fixed_small",
            "clip_sample": True,
            "clip_sample_range": 1.0,
            **self.betas,
        }

    def settings(self) -> dict[str, Any]:
        return {"prediction_type": self.prediction_type, "beta_schedule": self.beta_schedule, **self.betas}


@dataclass(frozen=True)
class OwnDiffusion(DiffusionConfig):
    """The diffusion of a policy that was trained with other settings than `DiffusionConfig` has, as by another program.

    Attributes:
        scheduler: its diffusers scheduler config, which replaces the other settings.
    """

    scheduler: dict[str, Any] = field(default_factory=dict)

    @property
    def schedule(self) -> dict[str, Any]:
        return dict(self.scheduler)

    def settings(self) -> dict[str, Any]:
        return {name: value for name, value in self.scheduler.items() if name != "_class_name"}


@dataclass(frozen=True)
class FlowConfig(Trainable):
    """Rectified flow over 100 timesteps; it has no settings."""

    kind: ClassVar[str] = "flow"

    @property
    def schedule(self) -> dict[str, Any]:
        return {"_class_name": "FlowMatchEulerDiscreteScheduler", "num_train_timesteps": 100, "shift": 1.0}

    def settings(self) -> dict[str, Any]:
        return {"prediction_type": "flow_prediction"}


ProcessConfig = DiffusionConfig | FlowConfig


def process_config(schedule: Mapping[str, Any]) -> ProcessConfig:
    """The settings of the process of a trained policy.

    Args:
        schedule: its diffusers scheduler config.

    Raises:
        ValueError: the process cannot be trained, as that of a distilled policy.
    """
    kind = schedule["_class_name"]
    if dict(schedule) == FlowConfig().schedule:
        return FlowConfig()
    if kind != DiffusionConfig().schedule["_class_name"]:
        raise ValueError(f"a policy with a schedule of {kind} cannot be trained on: a distilled policy, or a shifted flow")
    with_betas = schedule.get("beta_schedule") != DiffusionConfig.beta_schedule
    names = ("prediction_type", "beta_schedule", *("beta_start", "beta_end") * with_betas)
    try:
        known = DiffusionConfig(**{name: schedule[name] for name in names if name in schedule})
    except (SettingError, TypeError):  # other settings, or damaged ones, which `process_of` refuses
        return OwnDiffusion(scheduler=dict(schedule))
    return known if known.schedule == schedule else OwnDiffusion(scheduler=dict(schedule))

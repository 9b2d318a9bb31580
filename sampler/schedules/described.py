"""Reads a diffusers scheduler as its own class does: its class, and the settings that were set explicitly.

diffusers ignores settings that a class does not have, and each class has its own defaults.
"""

import reprlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

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

from paradp.sampler.schedules.settings import (
    ConsistencySettings,
    DDIMSettings,
    DDPMSettings,
    DPMSolverSettings,
    FlowSettings,
    SchedulerSettings,
    whole,
)

# A diffusers scheduler or its config: `scheduler.config`, or the content of `scheduler_config.json`.
Scheduler = Any

# diffusers' classes. The parallel ones were added for ParaDiGMS, and have the same steps.
KINDS: dict[Any, type[SchedulerSettings]] = {
    DDPMScheduler: DDPMSettings,
    DDIMScheduler: DDIMSettings,
    DPMSolverMultistepScheduler: DPMSolverSettings,
    DDPMParallelScheduler: DDPMSettings,
    DDIMParallelScheduler: DDIMSettings,
    LCMScheduler: ConsistencySettings,
    FlowMatchEulerDiscreteScheduler: FlowSettings,
}
_BY_NAME = {kind.__name__: kind for kind in KINDS}


@dataclass(frozen=True)
class Described:
    """A scheduler, read as its own class reads it.

    Attributes:
        kind: its class.
        settings: the settings that were set explicitly.
        grid: for a scheduler object after `set_timesteps`, its grid, see `grid_of`; else empty.
        set_shift: for a flow's scheduler object after `set_shift`, its shift if it differs from the config's; else `None`.
    """

    kind: Any
    settings: dict[str, Any]
    grid: dict[str, list[Any]] = field(default_factory=dict)
    set_shift: float | None = None

    @classmethod
    def of(cls, scheduler: "Scheduler | Described") -> "Described":
        """Reads a scheduler object or a config.

        Raises:
            ValueError: it is neither, or its class is not supported.
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
        shift = getattr(scheduler, "shift", None) if KINDS[kind].process == "flow" else None
        return cls(
            kind,
            _settings_that_were_set(kind, config),
            grid_of(scheduler) if chosen else {},
            None if shift == config.get("shift") else shift,
        )


def grid_of(scheduler: Any) -> dict[str, list[Any]]:
    """The grid of a scheduler object of diffusers: its `timesteps`, and for a flow also its `sigmas`.

    diffusers stores a flow's grid in float32. If its timesteps t are integers and its sigmas equal t/N up to that rounding,
    the sigmas are left out, because the timesteps determine them exactly.
    """
    timesteps = [whole(t) for t in scheduler.timesteps.tolist()]
    if not isinstance(scheduler, FlowMatchEulerDiscreteScheduler):
        return {"timesteps": timesteps}
    sigmas = scheduler.sigmas[: len(timesteps)].cpu()
    exact = torch.tensor(timesteps).double() / scheduler.config["num_train_timesteps"]
    rounded = all(isinstance(t, int) for t in timesteps) and torch.equal(exact.float(), sigmas.float())
    return {"timesteps": timesteps} if rounded else {"timesteps": timesteps, "sigmas": sigmas.tolist()}


def _class_named(name: Any) -> Any:
    if not isinstance(name, str) or name not in _BY_NAME:
        raise ValueError(f"no step table for the scheduler {reprlib.repr(name)}; there are: {', '.join(_BY_NAME)}")
    return _BY_NAME[name]


def _class_with_exactly(config: Mapping[str, Any]) -> Any:
    """The class of `scheduler.config`, which has every setting of its class, but not the class's name."""
    settings = _public(config).keys()
    # LCMScheduler is left out: diffusers' TCDScheduler has the same settings, but other steps.
    for kind in [kind for kind in KINDS if kind is not LCMScheduler]:
        if settings == _public(kind().config).keys():
            return kind
    raise ValueError(
        "the scheduler config does not contain its class (_class_name), and its settings are not those of one class:"
        " pass the scheduler itself, or add _class_name"
    )


def _settings_that_were_set(kind: Any, config: Mapping[str, Any]) -> dict[str, Any]:
    """Removes defaults that were not set explicitly, because another class of scheduler has other defaults."""
    settings = _public(config)
    defaults = _public(kind().config)
    noted = config.get("_use_default_values")
    unchosen = noted if isinstance(noted, list | tuple) else ()
    # A setting of a later diffusers is off by default, and then changes nothing.
    idle = {key for key in settings if key in unchosen or key not in KINDS[kind].model_fields}
    return {
        key: value for key, value in settings.items() if not (key in idle and key in defaults and value == defaults[key])
    }


def _public(config: Mapping[str, Any]) -> dict[str, Any]:
    """The settings without diffusers' internal keys, which begin with an underscore."""
    return {str(key): _plain(value) for key, value in config.items() if not str(key).startswith("_")}


def _plain(value: Any) -> Any:
    """Converts arrays and scalars of numpy and torch to Python's lists and numbers."""
    return value.tolist() if isinstance(value, np.ndarray | np.generic | torch.Tensor) else value

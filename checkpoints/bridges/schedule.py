"""Converts the scheduler settings in another program's configuration to a policy's noise schedule."""

from collections.abc import Mapping
from typing import Any

_SHARED = ("num_train_timesteps", "beta_start", "beta_end", "beta_schedule", "clip_sample", "clip_sample_range")
_NEEDED = ("num_train_timesteps", "beta_schedule", "prediction_type")
# Further settings of diffusers' DDIM, and their only supported values.
_FIXED: dict[str, Any] = {"set_alpha_to_one": True, "steps_offset": 0}
_KINDS = {"DDPMScheduler": "ddpm", "DDIMScheduler": "ddim"}


def read_schedule(kind: str, settings: Mapping[str, Any], steps: int | None) -> tuple[dict[str, Any], str]:
    """Returns the config of a `DDPMScheduler`, with which all these policies are trained, and the policy's own sampler.

    Args:
        kind: the class of the scheduler.
        settings: its arguments.
        steps: number of denoising steps; `None` for all of the training.

    Raises:
        ValueError: a setting is missing or not supported; the message names it.
    """
    if kind not in _KINDS:
        raise ValueError(f"its scheduler is {kind!r:.60}; {', '.join(_KINDS)} are read")
    if missing := [name for name in _NEEDED if name not in settings]:
        raise ValueError(f"its scheduler lacks {missing[0]}")
    for name, value in settings.items():
        if name in _FIXED and value != _FIXED[name]:
            raise ValueError(f"its scheduler has {name} {value!r:.40}, which is not supported: it must be {_FIXED[name]}")
        if name not in (*_SHARED, *_NEEDED, "variance_type", *_FIXED):
            raise ValueError(f"its scheduler has the setting {name!r:.80}, which is not known here")
    own = {name: settings[name] for name in (*_SHARED, "prediction_type") if name in settings}
    variance = settings.get("variance_type", "fixed_small")
    trained = own["num_train_timesteps"]
    for name, value in (("num_train_timesteps", trained), ("num_inference_steps", steps or trained)):
        if type(value) is not int or value < 1:
            raise ValueError(f"its {name} must be a whole number from 1 on, not {value!r:.40}")
    schedule = {"_class_name": "DDPMScheduler", "variance_type": variance, **own}
    return schedule, _sampler(_KINDS[kind], steps or trained, trained)


def _sampler(kind: str, steps: int, trained: int) -> str:
    if kind == "ddpm":
        return kind if steps == trained else f"ddpm-{steps}:spacing=leading"
    return f"{kind}-{steps}"

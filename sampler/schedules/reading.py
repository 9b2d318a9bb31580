"""Reads and checks a scheduler's config: every setting is used, known to have no effect, or refused by name.

Ignoring a setting could change the samples silently. So a config is first read as its own class reads it (`Described`), and
then converted to the settings that a table uses (`SchedulerSettings` and its subclasses).
"""

import reprlib
from typing import Any, TypeVar

from pydantic import ValidationError

from paradp.sampler.options import Process
from paradp.sampler.schedules.described import KINDS, Described, Scheduler
from paradp.sampler.schedules.settings import SchedulerSettings

S = TypeVar("S", bound=SchedulerSettings)

# Process of a network's training → its description in errors, and the samplers to use.
_TRAINED: dict[Process, tuple[str, str]] = {
    "diffusion": (
        "is a diffusion model, neither distilled nor a flow",
        "a sampler such as ddpm, ddim-10 or speculative-ddpm",
    ),
    "consistency": ("was distilled into a consistency model", "consistency-N, such as consistency-2"),
    "flow": ("was trained by flow matching", "flow-N, such as flow-10"),
}
# Settings of other diffusers schedulers (PNDM, UniPC, Euler, EDM, DPM-Solver SDE, Heun), which no class in `KINDS` reads.
# Converted configs, such as those of Stable Diffusion, contain them; they have no effect on these classes.
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


def read_settings(settings: type[S], scheduler: Scheduler | Described, **changes: Any) -> S:
    """Converts the settings of a scheduler to another kind, like `from_config` of diffusers' class, and applies changes.

    Raises:
        ValueError: the network was trained for another process, or a setting is malformed, not supported or unknown; the
            message names it.
    """
    described = Described.of(scheduler)
    own = KINDS[described.kind]
    if own.process != settings.process:
        is_so, sampler = _TRAINED[own.process]
        raise ValueError(f"the network {is_so}; use {sampler}")
    chosen = ({} if own is settings else dict(settings.converted)) | described.settings | changes
    # Settings that only other classes have are ignored, as in diffusers.
    meaningless = _KNOWN - settings.model_fields.keys()
    try:
        return settings(**{key: value for key, value in chosen.items() if key not in meaningless})
    except ValidationError as error:
        raise ValueError(_sentence(error)) from None


def _sentence(error: ValidationError) -> str:
    """The first validation error as a sentence."""
    wrong = error.errors(include_url=False)[0]
    if not wrong["loc"]:
        return wrong["msg"].removeprefix("Value error, ")
    key = "".join(f"[{part}]" if isinstance(part, int) else str(part) for part in wrong["loc"])
    if wrong["type"] == "extra_forbidden":
        return f"the scheduler config has a setting {key!r} that is not known here and may change the samples: remove it"
    reason = wrong["msg"].removeprefix("Value error, ").replace("Input should be", "it must be")
    return f"{key} = {reprlib.repr(wrong['input'])} is not supported: {reason}"

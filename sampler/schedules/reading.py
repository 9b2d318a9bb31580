"""A scheduler's config, read and checked: every setting is used, known not to matter, or refused by name.

A setting that is ignored would change the samples without a word. So a config is first read as what its own class makes of
it (`Described`), and then into the settings that a table uses (`SchedulerSettings` and its kinds).
"""

import reprlib
from typing import Any, TypeVar

from pydantic import ValidationError

from paradp.sampler.options import Process
from paradp.sampler.schedules.described import KINDS, Described, Scheduler
from paradp.sampler.schedules.settings import SchedulerSettings

S = TypeVar("S", bound=SchedulerSettings)

# What a network was trained for → how an error says it, and what to sample it with.
_MADE: dict[Process, tuple[str, str]] = {
    "diffusion": ("is a diffusion model, not distilled and no flow", "a sampler such as ddpm, ddim-10 or speculative-ddpm"),
    "consistency": ("was distilled into a consistency model", "consistency-N, such as consistency-2"),
    "flow": ("was trained by flow matching", "flow-N, such as flow-10"),
}
# What other schedulers of diffusers read (PNDM, UniPC, Euler, EDM, DPM-Solver SDE, Heun) and none of `KINDS`: it comes
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


def read_settings(settings: type[S], scheduler: Scheduler | Described, **changes: Any) -> S:
    """The settings of a scheduler, as diffusers' class of that kind would take them over, with changes.

    Raises:
        ValueError: the network was trained for another process; or a setting is malformed, not supported or unknown,
            and the message names it.
    """
    described = Described.of(scheduler)
    own = KINDS[described.kind]
    if own.process != settings.process:
        is_so, sampler = _MADE[own.process]
        raise ValueError(f"the network {is_so}; use {sampler}")
    chosen = ({} if own is settings else dict(settings.converted)) | described.settings | changes
    # Settings that only other classes have mean nothing to this one, to diffusers neither.
    meaningless = _KNOWN - settings.model_fields.keys()
    try:
        return settings(**{key: value for key, value in chosen.items() if key not in meaningless})
    except ValidationError as error:
        raise ValueError(_sentence(error)) from None


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

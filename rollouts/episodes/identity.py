"""The identity of a run: settings, policy and machine, stored in `run.json`. A run is only continued with the same one."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from typing_extensions import TypedDict  # pydantic supports the one of `typing` only from Python 3.12 on

from paradp.sampler.families import RENAMED_OPTIONS


class SamplerUsed(TypedDict):
    """The sampler's name and all its settings, defaults included; for `auto` also the `chosen` sampler."""

    name: str
    settings: dict[str, Any]


@dataclass(frozen=True)
class RunIdentity:
    """Everything that a run's numbers depend on, except the number of episodes.

    Names and values are those of `run.json`; error messages list differences in this order.

    Attributes:
        task, sampler, seed, envs, threads, device, engine, precision, clock, controller, disturbance: see `RolloutConfig`.
        model_sha256, checkpoint_sha256: hashes of the weights and of the whole checkpoint.
        execute, max_steps: the values in effect.
        hardware, versions: the machine and the package versions.
    """

    task: str
    sampler: SamplerUsed
    model_sha256: str
    checkpoint_sha256: str
    seed: int
    envs: int
    threads: int
    device: str
    engine: str
    precision: str
    execute: int
    clock: str
    controller: str
    disturbance: str | None
    max_steps: int
    hardware: dict[str, Any]
    versions: dict[str, str]


def sampler_name(sampler: Mapping[str, Any], without: Mapping[str, Any] = MappingProxyType({})) -> str:
    """The name of a sampler with all its settings, as it is typed: `para-ddpm:tolerance=0.1:window=8`.

    Args:
        sampler: an entry of `run.json`, which may be damaged.
        without: settings to leave out where they have these values.
    """
    name, settings = sampler.get("name"), _settings(sampler)
    if "chosen" in settings:
        return f"{name} (chosen: {settings['chosen']})"
    typed = [f"{_option(key)}={_value(value)}" for key, value in sorted(settings.items()) if without.get(key) != value]
    return ":".join([str(name), *typed])


def with_sampler_names(there: Mapping[str, Any], here: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Replaces differing samplers of two identities by their names, for messages.

    Settings with the same values are left out if both are of the same kind.
    """
    found, (one, other) = (dict(there), dict(here)), (there.get("sampler"), here.get("sampler"))
    if one == other or not (isinstance(one, Mapping) and isinstance(other, Mapping)):
        return found
    shared = {key: value for key, value in _settings(one).items() if (key, value) in _settings(other).items()}
    names = [sampler_name(each, shared if one.get("name") == other.get("name") else {}) for each in (one, other)]
    if names[0] == names[1]:
        return found
    return found[0] | {"sampler": names[0]}, found[1] | {"sampler": names[1]}


def _settings(sampler: Mapping[str, Any]) -> Mapping[str, Any]:
    settings = sampler.get("settings")
    return settings if isinstance(settings, Mapping) else {}


def _option(setting: str) -> str:
    """The option of a setting: dashes for underscores, and today's name for an older one."""
    option = setting.replace("_", "-")
    return RENAMED_OPTIONS.get(option, option)


def _value(value: Any) -> str:
    return "-".join(map(str, value)) if isinstance(value, list) else str(value)

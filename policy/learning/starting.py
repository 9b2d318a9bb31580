"""Starts a training from a policy: the settings that it determines, and whether it fits demonstrations."""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import asdict, replace
from typing import Any

from paradp.policy.data.dataset import Dataset, largest_step
from paradp.policy.errors import SettingError
from paradp.policy.identity import describe, differences
from paradp.policy.learning.config import TrainingConfig
from paradp.policy.learning.lesson import TrainedPolicy
from paradp.policy.networks.vision.config import PixelsConfig, Vision, VisionConfig
from paradp.policy.process_config import process_config
from paradp.policy.spec import PolicySpec

_DETERMINED = ("schedule", "network", "vision", "horizons")


def settings_of(start: PolicySpec) -> dict[str, Any]:
    """The settings of `TrainingConfig` that a policy to start from determines; only `execute` may be changed.

    Raises:
        ValueError: the policy cannot be trained on, as it was distilled.
    """
    horizons = asdict(start.horizons)
    return {"network": start.network, "process": process_config(start.schedule), "vision": _vision_of(start), **horizons}


def _values_of(start: PolicySpec) -> dict[str, Any]:
    """The values of the options of these settings, by name: each part's kind and the settings of the parts that it has."""
    parts = settings_of(start)
    kinds = {name: parts[name].kind for name in ("network", "process", "vision")}
    vision = {} if start.vision is None else asdict(start.vision)
    return asdict(start.network) | vision | start.schedule | asdict(start.horizons) | kinds


def spec_from(start: PolicySpec, demonstrations: Dataset, execute: int | None = None) -> PolicySpec:
    """The specification of a policy that starts from another one: its own, with the largest steps of the demonstrations.

    Args:
        start: the policy to start from, or the teacher.
        demonstrations: the training data.
        execute: another number of executed steps.

    Raises:
        ValueError: the policy was made for other observations, actions or robots than the demonstrations show.
    """
    own = describe(start)
    info = {name: value for name, value in describe(demonstrations.info).items() if name != "made_with"}
    if sorted(info["observation"]) == sorted(own["observation"]):  # observations are taken by name, in the policy's order
        info["observation"] = own["observation"]
    if differing := differences(own, info, ("in the policy", "in the demonstrations")):
        raise ValueError(f"the policy does not fit the demonstrations ({differing})")
    horizons = start.horizons.with_execute(execute)
    return replace(start, horizons=horizons, action_step=tuple(largest_step(demonstrations).tolist()))


def copied(start: TrainedPolicy, spec: PolicySpec) -> TrainedPolicy:
    """The policy to start from with this specification, and with weights of its own: training changes them."""
    return replace(start, spec=spec, network=deepcopy(start.network))


def check_settings(config: TrainingConfig, start: PolicySpec) -> None:
    """Checks that the settings of a training are those of the policy that it starts from.

    Raises:
        SettingError: they are not, or one would have no effect.
        ValueError: as `settings_of`.
    """
    if config.observation_scaling != TrainingConfig.observation_scaling:
        said = "observation_scaling must be left out: the policy to start from has its own scaling"
        raise SettingError(said, "observation_scaling")
    settings_of(start)
    vision = start.vision if config.vision == start.vision else config.vision.fitted(start.observed)
    asked = replace(start, schedule=config.process.schedule, network=config.network, vision=vision, horizons=config.horizons)
    settings = {name: value for name, value in describe(asked).items() if name in _DETERMINED}
    own = describe(replace(start, horizons=replace(start.horizons, execute=config.execute)))
    sides = "in the policy", "in the settings"
    if differing := differences(own, settings, sides):
        raise SettingError(f"the settings are not those of the policy to start from ({differing}): take `settings_of` it")


def _vision_of(start: PolicySpec) -> Vision:
    """The settings of the image encoder, without the crop if it is the default one, which runs do not store."""
    if start.vision is None:
        return PixelsConfig() if any(one.kind == "image" for one in start.observed.values()) else VisionConfig()
    uncropped = replace(start.vision, crop=None)
    try:
        return uncropped if uncropped.fitted(start.observed) == start.vision else start.vision
    except SettingError:  # the cameras have images of several sizes, for which there is no default
        return start.vision


def refuse_others(typed: Mapping[str, Any], start: PolicySpec) -> None:
    """Checks that typed settings are those of the policy to start from.

    Args:
        typed: the settings by name, without those that were left out.
        start: the policy.

    Raises:
        SettingError: one differs.
        ValueError: as `settings_of`.
    """
    own = _values_of(start)
    for name, value in typed.items():
        if name not in own:
            raise SettingError(f"{name} must be left out: the policy to start from has its own settings", name)
        if value != own[name]:
            said = f"must be left out or {_said(own[name])}, as in the policy to start from, not {_said(value)}"
            raise SettingError(f"{name} {said}", name)


def _said(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)

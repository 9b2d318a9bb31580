"""The specification of a policy: everything except its weights."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Annotated, Any

from pydantic import PlainSerializer, PlainValidator, TypeAdapter, ValidationError

from paradp.policy.features import Feature, Shape, action_features, observed_features
from paradp.policy.files.limits import MOST_VALUES
from paradp.policy.files.reading import first_problem
from paradp.policy.horizons import DEFAULT_HORIZONS, Horizons
from paradp.policy.networks.configs import find_network
from paradp.policy.networks.network_config import NetworkConfig
from paradp.policy.networks.unet_config import UnetConfig
from paradp.policy.networks.vision.config import VisionConfig
from paradp.policy.process_config import DiffusionConfig
from paradp.policy.quantities import check_quantities
from paradp.sampler.options import MOST_TIMESTEPS, Process

DEFAULT_SCHEDULE = DiffusionConfig().schedule
# Class of the scheduler → kind of training.
_PROCESSES: dict[str, Process] = {
    "DDPMScheduler": "diffusion",
    "LCMScheduler": "consistency",
    "FlowMatchEulerDiscreteScheduler": "flow",
}


@dataclass(frozen=True)
class Interface:
    """A policy's inputs and outputs: everything that a robot needs to run it.

    Attributes:
        task: the task's name.
        observation: key → length of a vector, or height, width and channels of an image, in the order of the
            network's input; `observed` has them as typed features.
        action: name → length of each part of an action, in order.
        action_low, action_high: limits of each dimension; planned actions are clipped to them.
        action_convention: how the environment interprets an action.
        control_hz: control steps per second.
        horizons: steps observed, predicted, executed.
        action_step: largest change of each dimension between consecutive actions of the demonstrations; `None` if unknown.
            See `SafetyLimits`.
    """

    task: str
    observation: dict[str, Shape]
    action: dict[str, int]
    action_low: tuple[float, ...]
    action_high: tuple[float, ...]
    action_convention: str
    control_hz: int
    horizons: Horizons = field(default=DEFAULT_HORIZONS, kw_only=True)
    action_step: tuple[float, ...] | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        check_quantities(self.observation, self.action, self.action_low, self.action_high, self.control_hz, self.action_step)

    @cached_property
    def observed(self) -> dict[str, Feature]:
        """The features of an observation, in order."""
        return observed_features(self.observation)

    @property
    def features(self) -> dict[str, Feature]:
        """The features of an observation, then those of an action."""
        return self.observed | action_features(self.action)

    @property
    def observation_size(self) -> int:
        """The number of values in one observed step."""
        return sum(feature.size for feature in self.observed.values())

    @property
    def action_size(self) -> int:
        """The number of values in an action, A."""
        return sum(self.action.values())


def _read_network(value: Any) -> NetworkConfig:
    """Reads the settings of a network in `config.json`.

    Raises:
        ValueError: the `kind` is unknown, or the settings are invalid.
    """
    if isinstance(value, NetworkConfig):
        return value
    kind = value.get("kind") if isinstance(value, dict) else None
    config = find_network(kind if isinstance(kind, str) else repr(kind))
    try:
        return TypeAdapter(config).validate_python(value)
    except ValidationError as error:
        raise ValueError(f"{kind}: {first_problem(error)}") from error


@dataclass(frozen=True)
class PolicySpec(Interface):
    """The specification of a trained policy. Checkpoints store it, and rollouts check it against the environment.

    Attributes:
        controller: gains of the low-level controller.
        schedule: a diffusers scheduler config with the noise schedule and prediction type of the training; for a distilled
            policy that of LCMScheduler, for a flow that of FlowMatchEulerDiscreteScheduler.
        network: its kind and sizes.
        vision: the image encoder; without one the network's inputs are the pixels.
    """

    controller: dict[str, float]
    schedule: dict[str, Any] = field(default_factory=lambda: dict(DEFAULT_SCHEDULE))
    network: Annotated[NetworkConfig, PlainValidator(_read_network), PlainSerializer(asdict)] = field(default=UnetConfig())
    vision: VisionConfig | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.vision is not None:
            self.vision.check(self.observed)
        if self.encoded_size > MOST_VALUES:
            raise ValueError(
                f"without an encoder the networks see images as plain numbers, at most {MOST_VALUES} of them a step; these"
                f" observations have {self.encoded_size}"
            )
        if not all(map(math.isfinite, self.controller.values())):
            raise ValueError(f"the controller's gains must be finite: {self.controller}")
        self.network.check_horizon(self.horizons.predict)
        if (name := self.schedule.get("_class_name")) not in _PROCESSES:
            raise ValueError(f"the schedule is a config of {name!r}; policies have one of {', '.join(_PROCESSES)}")
        _check_sizes(self.schedule)

    @property
    def process(self) -> Process:
        """The kind of training, which decides the possible samplers."""
        return _PROCESSES[self.schedule["_class_name"]]

    @property
    def timesteps(self) -> int:
        """One more than the largest input timestep: N, or N + 1 for a flow, whose largest timestep is N."""
        return self.schedule["num_train_timesteps"] + (self.process == "flow")

    @property
    def condition_size(self) -> int:
        """Length of the condition: all observed steps, encoded and concatenated."""
        return self.horizons.observe * self.encoded_size

    @property
    def encoded_size(self) -> int:
        """The number of the network's inputs for one observed step."""
        if self.vision is None:
            return self.observation_size
        return sum(self.vision.size if one.kind == "image" else one.size for one in self.observed.values())


def _check_sizes(schedule: Mapping[str, Any]) -> None:
    """Checks the size of the schedule before diffusers allocates tensors; `step_table` checks the rest."""
    timesteps, betas = schedule.get("num_train_timesteps"), schedule.get("trained_betas")
    if type(timesteps) is not int or not 1 <= timesteps <= MOST_TIMESTEPS:
        raise ValueError(f"num_train_timesteps must be a whole number from 1 to {MOST_TIMESTEPS}, not {timesteps!r:.40}")
    if betas is None:
        return
    numbers = isinstance(betas, list | tuple) and all(type(beta) in (int, float) for beta in betas)
    if not numbers or len(betas) != timesteps or not all(0 < beta < 1 for beta in betas):
        raise ValueError(f"trained_betas must be {timesteps} numbers between 0 and 1, one for each timestep")

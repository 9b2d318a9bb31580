"""What a policy is made for and made of: everything but its weights."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Annotated, Any

from pydantic import Field

from paradp.policy.errors import SettingError
from paradp.policy.features import Feature, Shape, action_features, observed_features
from paradp.policy.files.limits import MOST_HORIZON, MOST_OBSERVED, MOST_VALUES, within
from paradp.policy.networks.configs import NetworkConfig
from paradp.policy.networks.unet_config import UnetConfig
from paradp.policy.networks.vision.config import VisionConfig
from paradp.policy.process_config import DiffusionConfig
from paradp.policy.quantities import check_quantities
from paradp.sampler.options import MOST_TIMESTEPS, Process

DEFAULT_SCHEDULE = DiffusionConfig().schedule
# What a policy was trained for, by the class of its scheduler.
_PROCESSES: dict[str, Process] = {
    "DDPMScheduler": "diffusion",
    "LCMScheduler": "consistency",
    "FlowMatchEulerDiscreteScheduler": "flow",
}


@dataclass(frozen=True)
class Horizons:
    """How many steps a policy sees, predicts and executes (Chi et al. 2023, §3.1).

    At control step t, with the default horizons:

        observed    t−1  t
        predicted   t−1  t  t+1  …  t+7  t+8  …  t+14
        executed         t  t+1  …  t+7

    The first predicted action belongs to the first observed step and is already past.
    """

    observe: int = 2
    predict: int = 16
    execute: int = 8

    def __post_init__(self) -> None:
        if self.observe < 1 or self.execute < 1:
            raise ValueError(f"horizons must be positive: {self}")
        if self.observe - 1 + self.execute > self.predict:
            raise ValueError(f"{self} execute steps that are not predicted: observe − 1 + execute must be ≤ predict")
        within("predict", self.predict, 1, MOST_HORIZON)
        within("observe", self.observe, 1, MOST_OBSERVED)
        within("execute", self.execute, 1, MOST_HORIZON)

    def with_execute(self, execute: int | None) -> "Horizons":
        """The same with another number of executed steps; `None` for these.

        Raises:
            SettingError: so many are not predicted.
        """
        most = self.predict - self.observe + 1
        if execute is not None and not 1 <= execute <= most:
            said = f"execute must be from 1 to {most}, not {execute}: it would execute steps that are not predicted"
            raise SettingError(said, "execute")
        return self if execute is None else replace(self, execute=execute)


@dataclass(frozen=True)
class Interface:
    """What a policy is told and what it commands: all that a robot must know of it.

    Attributes:
        task: the task's name.
        observation: key → length of a vector, or height, width and channels of an image, in the order that the network
            sees them; `features` has them typed.
        action: quantity → length, in order.
        action_low, action_high: limits of every dimension; what a policy plans is clipped to them.
        action_convention: what those quantities mean to the environment.
        control_hz: control steps per second.
        horizons: steps observed, predicted, executed.
        action_step: how far, at most, each dimension of an action is from the one before in the demonstrations; `None` where
            that was not kept. See `SafetyLimits`.
    """

    task: str
    observation: dict[str, Shape]
    action: dict[str, int]
    action_low: tuple[float, ...]
    action_high: tuple[float, ...]
    action_convention: str
    control_hz: int
    horizons: Horizons = field(default=Horizons(), kw_only=True)
    action_step: tuple[float, ...] | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        check_quantities(self.observation, self.action, self.action_low, self.action_high, self.control_hz, self.action_step)

    @cached_property
    def observed(self) -> dict[str, Feature]:
        """The parts of an observation, in their order."""
        return observed_features(self.observation)

    @property
    def features(self) -> dict[str, Feature]:
        """The parts of an observation, then those of an action."""
        return self.observed | action_features(self.action)

    @property
    def observation_size(self) -> int:
        """Numbers in one observed step."""
        return sum(feature.size for feature in self.observed.values())

    @property
    def action_size(self) -> int:
        return sum(self.action.values())


@dataclass(frozen=True)
class PolicySpec(Interface):
    """What a policy was trained for; a checkpoint stores it and a rollout checks it against the environment.

    Attributes:
        controller: gains of the low-level controller.
        schedule: a diffusers scheduler config: the noise schedule and prediction type trained with; of a policy that was
            distilled LCMScheduler's, of a flow FlowMatchEulerDiscreteScheduler's.
        network: its kind and sizes.
        vision: the encoder of images; without one the network sees them as plain numbers.
    """

    controller: dict[str, float]
    schedule: dict[str, Any] = field(default_factory=lambda: dict(DEFAULT_SCHEDULE))
    network: Annotated[NetworkConfig, Field(discriminator="kind")] = field(default=UnetConfig())
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
        if isinstance(self.network, UnetConfig) and self.horizons.predict % self.network.halvings:
            levels = len(self.network.channels)
            raise ValueError(f"a U-Net with {levels} levels needs a horizon divisible by {self.network.halvings}")
        if (name := self.schedule.get("_class_name")) not in _PROCESSES:
            raise ValueError(f"the schedule is a config of {name!r}; policies have one of {', '.join(_PROCESSES)}")
        _check_sizes(self.schedule)

    @property
    def process(self) -> Process:
        """What the network was trained for: which samplers are for it."""
        return _PROCESSES[self.schedule["_class_name"]]

    @property
    def timesteps(self) -> int:
        """One more than the largest timestep that the network is given: N, and of a flow, whose last is N itself, N + 1."""
        return self.schedule["num_train_timesteps"] + (self.process == "flow")

    @property
    def condition_size(self) -> int:
        """Length of the encoded observation: the observed steps, side by side."""
        return self.horizons.observe * self.encoded_size

    @property
    def encoded_size(self) -> int:
        """Numbers that the network sees of one observed step."""
        if self.vision is None:
            return self.observation_size
        return sum(self.vision.size if one.kind == "image" else one.size for one in self.observed.values())


def _check_sizes(schedule: Mapping[str, Any]) -> None:
    """Before diffusers makes tensors of it; whether it can be used is for `step_table` to say."""
    timesteps, betas = schedule.get("num_train_timesteps", 1000), schedule.get("trained_betas")
    if type(timesteps) is not int or not 1 <= timesteps <= MOST_TIMESTEPS:
        raise ValueError(f"num_train_timesteps must be a whole number from 1 to {MOST_TIMESTEPS}, not {timesteps!r:.40}")
    if betas is None:
        return
    numbers = isinstance(betas, list | tuple) and all(type(beta) in (int, float) for beta in betas)
    if not numbers or len(betas) != timesteps or not all(0 < beta < 1 for beta in betas):
        raise ValueError(f"trained_betas must be {timesteps} numbers between 0 and 1, one for each timestep")

"""Settings of the policy: those of LeRobot's diffusion policy, and its sampler."""

from dataclasses import dataclass

from lerobot.configs import PreTrainedConfig
from lerobot.policies.diffusion.configuration_diffusion import DiffusionConfig

from paradp.sampler import SamplerChoice


@PreTrainedConfig.register_subclass("paradp")
@dataclass
class ParadpConfig(DiffusionConfig):  # type: ignore[misc]  # LeRobot is not installed where types are checked
    """LeRobot's diffusion policy, sampled by paradp.

    Attributes:
        sampler: how to denoise, such as `para-ddpm:window=8`. `auto` draws from exactly the distribution of the policy's
            own steps.
    """

    sampler: str = "auto"

    def __post_init__(self) -> None:
        super().__post_init__()
        SamplerChoice.parse(self.sampler)

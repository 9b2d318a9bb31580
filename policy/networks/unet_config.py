"""The settings of a U-Net."""

from dataclasses import dataclass
from importlib import import_module
from typing import Any, Literal

from paradp.policy.errors import SettingError
from paradp.policy.files.limits import MOST_CHANNELS, MOST_EMBEDDING, MOST_KERNEL, MOST_LEVELS, within
from paradp.policy.networks.network_config import NetworkConfig
from paradp.policy.settings import Limits, setting


@dataclass(frozen=True)
class UnetConfig(NetworkConfig):
    """Sizes of a `ConditionalUnet1D`.

    Attributes:
        kind: the type of network, as stored in checkpoints.
        channels: channels of each resolution; the horizon halves from one to the next.
        kernel_size: kernel size of every convolution; odd.
        groups: number of groups of every group normalisation; divides all channels.
        head_groups: number of groups of the last normalisation, if it differs.
        timestep_embedding: length of the embedding of the diffusion timestep.
    """

    kind: Literal["unet"] = "unet"
    channels: tuple[int, ...] = setting((64, 128, 256), Limits(1, MOST_CHANNELS))
    kernel_size: int = setting(5, Limits(1, MOST_KERNEL), option=False, later=True)
    groups: int = setting(8, Limits(1, MOST_CHANNELS), option=False, later=True)
    head_groups: int | None = setting(None, Limits(1, MOST_CHANNELS), option=False, later=True)
    timestep_embedding: int = setting(128, Limits(4, MOST_EMBEDDING), option=False, later=True)

    def __post_init__(self) -> None:
        if not (self.channels and all(size >= 1 for size in self.channels)):
            raise SettingError(f"channels must be positive numbers, not {self.channels}", "channels")
        within("the number of channels", len(self.channels), 1, MOST_LEVELS)
        super().__post_init__()
        if any(c % self.groups for c in self.channels):
            raise SettingError(f"channels must be multiples of groups = {self.groups}, not {self.channels}", "channels")
        if self.head_groups is not None and self.channels[0] % self.head_groups:
            said = f"the first of channels must be a multiple of head_groups = {self.head_groups}, not {self.channels[0]}"
            raise SettingError(said, "channels")
        if self.kernel_size % 2 == 0:
            raise ValueError(f"kernel_size must be odd, not {self.kernel_size}")
        if self.timestep_embedding % 2:
            raise ValueError(f"timestep_embedding must be even, not {self.timestep_embedding}")

    def describe(self) -> str:
        """Describes the network in a few words."""
        return f"1-D U-Net, channels {'-'.join(map(str, self.channels))}"

    def check_horizon(self, predict: int) -> None:
        if predict % self.halvings:
            said = f"a U-Net with {len(self.channels)} levels needs a horizon divisible by {self.halvings}"
            raise SettingError(f"{said}, and predict is {predict}", "predict")

    def build(self, spec: Any) -> Any:
        return import_module("paradp.policy.networks.unet").build(spec, self)

    @property
    def halvings(self) -> int:
        """The factor between the horizons of the finest and the coarsest resolution."""
        return 2 ** (len(self.channels) - 1)

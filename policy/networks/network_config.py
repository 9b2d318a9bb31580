"""Base class of networks' settings."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

from paradp.policy.settings import Settings


@dataclass(frozen=True)
class NetworkConfig(Settings, ABC):
    """The settings of a network, and the method that builds it. `paradp train` has options for each subclass's settings.

    Attributes:
        kind: the network's name; a subclass declares it as `Literal["mlp"] = "mlp"`.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}  # as files are read

    kind: str

    @abstractmethod
    def describe(self) -> str:
        """Describes the network in a few words, for model cards."""

    def check_horizon(self, predict: int) -> None:
        """Checks the number of predicted steps; a subclass that cannot predict every number overrides this.

        Raises:
            SettingError: the network cannot predict so many steps.
        """

    @abstractmethod
    def build(self, spec: Any) -> Any:
        """Builds the `ConditionalNetwork` for a `PolicySpec`, with random weights.

        Import PyTorch here and not at the top of the module, because settings are also read without it.
        """

"""What the settings of every network have in common."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

from paradp.policy.settings import Settings


@dataclass(frozen=True)
class NetworkConfig(Settings, ABC):
    """The settings of a network, and how it is built. A subclass makes `paradp train` know the network and its options.

    Attributes:
        kind: the network's name; a subclass declares it as `Literal["mlp"] = "mlp"`.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}  # as files are read

    kind: str

    @abstractmethod
    def describe(self) -> str:
        """In a few words, for model cards."""

    @abstractmethod
    def build(self, spec: Any) -> Any:
        """The `ConditionalNetwork` for a `PolicySpec`, with random weights.

        PyTorch is imported here and not by the module, where that is possible: settings are read without it.
        """

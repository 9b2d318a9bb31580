"""The settings of a transformer."""

from dataclasses import dataclass
from importlib import import_module
from typing import Any, Literal

from paradp.policy.errors import SettingError
from paradp.policy.files.limits import MOST_EMBEDDING, MOST_HEADS, MOST_LAYERS
from paradp.policy.networks.network_config import NetworkConfig
from paradp.policy.settings import Limits, setting
from paradp.policy.wording import counted


@dataclass(frozen=True)
class TransformerConfig(NetworkConfig):
    """Sizes of a `ConditionalTransformer`.

    Attributes:
        kind: the type of network, as stored in checkpoints.
        layers: number of layers of the decoder.
        heads: number of heads of each attention; divides `embedding`.
        embedding: length of each token.
    """

    kind: Literal["transformer"] = "transformer"
    layers: int = setting(8, Limits(1, MOST_LAYERS))
    heads: int = setting(4, Limits(1, MOST_HEADS), option=False, later=True)
    embedding: int = setting(256, Limits(4, MOST_EMBEDDING))

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.embedding % 2 or self.embedding % self.heads:
            said = f"embedding must be an even multiple of {self.heads} heads, not {self.embedding}"
            raise SettingError(said, "embedding")

    def describe(self) -> str:
        """Describes the network in a few words."""
        return f"transformer, {counted(self.layers, 'layer')} of width {self.embedding}"

    def build(self, spec: Any) -> Any:
        return import_module("paradp.policy.networks.transformer").build(spec, self)

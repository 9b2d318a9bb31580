"""The engine interface."""

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor

from paradp.policy.choices import Precision
from paradp.sampler import Graphs


class Engine(Protocol):
    """Computes one network.

    Attributes:
        name: name on the command line.
        precision: number format.
        graphs: captured CUDA graphs of whole rounds; `None` if its calls cannot be captured.
    """

    name: str
    precision: Precision
    graphs: Graphs | None

    def encode(self, condition: Tensor, /) -> Tensor:
        """Encodes conditions `[B, C]` for `__call__`: `[B, G]`, computed once per plan."""
        ...

    def prepare(self, rows: Sequence[int]) -> None:
        """Compiles ahead for these batch sizes, and releases what was compiled for all others."""
        ...

    def __call__(self, x: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        """Predictions `[n, H, A]` for chunks `[n, H, A]`, integer timesteps `[n]` and encoded conditions `[n, G]`."""
        ...

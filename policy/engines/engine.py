"""What every engine offers."""

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor

from paradp.policy.choices import Precision
from paradp.sampler import Graphs


class Engine(Protocol):
    """Computes one network.

    Attributes:
        name: what it is called on the command line.
        precision: of its arithmetic.
        graphs: the rounds that were captured with it, where its calls can be.
    """

    name: str
    precision: Precision
    graphs: Graphs | None

    def encode(self, condition: Tensor, /) -> Tensor:
        """What `__call__` takes for conditions `[B, C]`: `[B, G]`, computed once a plan."""
        ...

    def prepare(self, rows: Sequence[int]) -> None:
        """Does now what calls with any of these numbers of rows would do at first, and forgets what others need."""
        ...

    def __call__(self, x: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        """Predictions `[n, H, A]` for chunks `[n, H, A]`, integer timesteps `[n]` and encoded conditions `[n, G]`."""
        ...

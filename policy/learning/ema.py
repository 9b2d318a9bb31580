"""An exponential moving average of a network's weights."""

import copy
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

Network = TypeVar("Network", bound=nn.Module)


class EMA(Generic[Network]):
    """Keeps an averaged copy whose memory grows with training, as in Diffusion Policy and diffusers.

    After step k the decay is `min(1 − (1 + k)^−power, max_decay)`: an average over about the last k^0.75 steps,
    and at most the last 2000.
    """

    def __init__(self, network: Network, power: float = 0.75, max_decay: float = 0.9995):
        self.network: Network = copy.deepcopy(network).eval().requires_grad_(False)
        self._power = power
        self._max_decay = max_decay

    @torch.no_grad()
    def update(self, network: Network, step: int) -> None:
        """Moves the average towards the network after optimiser step number `step`, counted from 0."""
        torch._foreach_lerp_(list(self.network.parameters()), list(network.parameters()), self.weight_of(step))

    @torch.no_grad()
    def move(self, network: Network, weight: Tensor) -> None:
        """Moves the average towards the network with a weight `[]` that a captured step reads from the device."""
        average: list[Tensor] = list(self.network.parameters())
        taken = torch._foreach_mul(list(network.parameters()), weight)
        torch._foreach_mul_(average, 1 - weight)
        torch._foreach_add_(average, taken)

    def weight_of(self, step: int) -> float:
        """The weight of the network in the average after a step, counted from 0."""
        return 1 - min(1 - (1 + step) ** -self._power, self._max_decay)

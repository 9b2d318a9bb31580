"""The observation's part of all layers as one matrix product."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from paradp.policy.networks.unet import ConditionalUnet1D


@torch.no_grad()
def stacked_conditions(network: ConditionalUnet1D, condition_size: int) -> Callable[[Tensor], Tensor]:
    """`network.encode_condition` up to rounding, with the layers' weights in one matrix: two kernels for a GPU, not forty.

    Args:
        network: whose weights are copied.
        condition_size: C.
    """
    layers = [block.film[1] for block in network.blocks()]
    weight = torch.cat([layer.weight[:, -condition_size:] for layer in layers])
    return lambda condition: nn.functional.linear(nn.functional.mish(condition), weight)

"""The observation's part of all layers as one matrix product."""

from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn

from paradp.policy.networks.conditional import ConditionalNetwork
from paradp.policy.networks.unet import ConditionalUnet1D


@torch.no_grad()
def condition_encoder(network: ConditionalNetwork) -> Callable[[Tensor], Tensor]:
    """`network.encode_condition` up to rounding: of a U-Net two operations, not two for each layer.

    Its layers' weights are copied into one matrix `[F, C]`: later changes of the network do not show.
    """
    if not isinstance(network, ConditionalUnet1D):
        return network.encode_condition
    embedding = cast(nn.Linear, network.timestep_encoder[-1]).out_features
    layers = [cast(nn.Linear, block.film[1]) for block in network.blocks()]
    weight = torch.cat([layer.weight[:, embedding:] for layer in layers])
    return lambda condition: nn.functional.linear(nn.functional.mish(condition), weight)

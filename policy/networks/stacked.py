"""Computes the observation's part of all layers in one matrix product."""

from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn

from paradp.policy.networks.conditional import ConditionalNetwork
from paradp.policy.networks.unet import ConditionalUnet1D


@torch.no_grad()
def condition_encoder(network: ConditionalNetwork) -> Callable[[Tensor], Tensor]:
    """Returns a function equal to `network.encode_condition` up to rounding; for a U-Net with two operations in all.

    It copies the layers' weights into one matrix `[F, C]`, so later changes of the network have no effect.
    """
    if not isinstance(network, ConditionalUnet1D):
        return network.encode_condition
    embedding = cast(nn.Linear, network.timestep_encoder[-1]).out_features
    layers = [cast(nn.Linear, block.film[1]) for block in network.blocks()]
    weight = torch.cat([layer.weight[:, embedding:] for layer in layers])
    return lambda condition: nn.functional.linear(nn.functional.mish(condition), weight)

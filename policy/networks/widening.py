"""Widens a network without changing its function, to measure larger policies with the rounds of a trained one."""

from dataclasses import replace
from typing import cast

import torch
from torch import Tensor, nn

from paradp.policy.networks.building import build_network
from paradp.policy.networks.conditional import ConditionalNetwork
from paradp.policy.networks.unet import ConditionalUnet1D
from paradp.policy.networks.unet_config import UnetConfig
from paradp.policy.spec import PolicySpec


@torch.no_grad()
def widened(network: ConditionalNetwork, spec: PolicySpec, factor: int) -> tuple[ConditionalUnet1D, PolicySpec]:
    """Returns a U-Net with `factor` times the channels and the same predictions, up to rounding, and its specification.

    Every channel becomes `factor` equal adjacent ones, which stay in the same group of the normalisation; the next layer
    uses their mean (Net2Net, arXiv 1511.05641, §2.2). The chunk and the timestep's embedding keep their sizes.

    Args:
        network, spec: network and specification of a policy; they are not changed.
        factor: at least 1.

    Raises:
        ValueError: the network is not a U-Net, or the wider one would exceed the limits of a U-Net.
    """
    spec = widened_spec(spec, factor)
    wide = cast(ConditionalUnet1D, build_network(spec)).to(next(network.parameters()).device)
    wide.vision = network.vision
    for narrow, target in zip(network.modules(), wide.modules(), strict=True):
        for name, parameter in narrow.named_parameters(recurse=False):
            copies = getattr(target, name)
            copies.copy_(_stretched(parameter, copies.shape, _inputs(target) if name == "weight" else None))
    return wide.eval().requires_grad_(False), spec


def widened_spec(spec: PolicySpec, factor: int) -> PolicySpec:
    """The specification of a U-Net with `factor` times the channels; arguments and errors as of `widened`."""
    if not isinstance(spec.network, UnetConfig):
        raise ValueError(f"only a U-Net can be widened, and this policy's network is a {spec.network.kind}")
    channels = tuple(factor * size for size in spec.network.channels)
    return replace(spec, network=replace(spec.network, channels=channels))


def _inputs(module: nn.Module) -> int | None:
    """The dimension of a module's weight that runs over its inputs."""
    if isinstance(module, nn.ConvTranspose1d):
        return 0
    return 1 if isinstance(module, nn.Conv1d | nn.Linear) else None


def _stretched(weight: Tensor, shape: torch.Size, inputs: int | None) -> Tensor:
    """Repeats a weight's elements to another shape, and divides them by the number of repetitions along the inputs."""
    for dimension, size in enumerate(shape):
        times = size // weight.shape[dimension]
        weight = weight.repeat_interleave(times, dimension) / (times if dimension == inputs else 1)
    return weight

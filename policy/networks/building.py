"""Builds the network of a policy's specification."""

import torch

from paradp.policy.networks.conditional import ConditionalNetwork
from paradp.policy.networks.vision.encoder import VisionEncoder
from paradp.policy.spec import PolicySpec


def build_network(spec: PolicySpec) -> ConditionalNetwork:
    """Builds the network of a specification, with random weights.

    Raises:
        ValueError: its settings build something other than a `ConditionalNetwork`.
    """
    network = spec.network.build(spec)
    if not isinstance(network, ConditionalNetwork):
        raise ValueError(f"the network {spec.network.kind!r} is a {type(network).__name__}, not a ConditionalNetwork")
    if spec.vision is not None:
        network.vision = VisionEncoder(spec.vision, spec.observed)
    return network


def shapes_of(spec: PolicySpec) -> dict[str, tuple[int, ...]]:
    """Name → shape of each tensor in that network's state, without allocating them."""
    with torch.device("meta"):
        return {name: tuple(tensor.shape) for name, tensor in build_network(spec).state_dict().items()}

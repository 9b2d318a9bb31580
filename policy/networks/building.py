"""From a policy's specification to its network."""

from importlib import import_module
from typing import cast

import torch

from paradp.policy.networks.conditional import ConditionalNetwork
from paradp.policy.networks.vision.encoder import VisionEncoder
from paradp.policy.spec import PolicySpec


def build_network(spec: PolicySpec) -> ConditionalNetwork:
    """The network that a specification describes, with random weights."""
    # Of each kind, which are those of `NetworkConfig`, there is a module beside this one with a function `build`.
    module = import_module(f"paradp.policy.networks.{spec.network.kind}")
    network = cast(ConditionalNetwork, module.build(spec, spec.network))
    if spec.vision is not None:
        network.vision = VisionEncoder(spec.vision, spec.observed)
    return network


def shapes_of(spec: PolicySpec) -> dict[str, tuple[int, ...]]:
    """Name → shape of every tensor of that network's state, without making any of them."""
    with torch.device("meta"):
        return {name: tuple(tensor.shape) for name, tensor in build_network(spec).state_dict().items()}

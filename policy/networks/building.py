"""From a policy's specification to its network."""

import torch

from paradp.policy.networks.conditional import ConditionalNetwork
from paradp.policy.networks.transformer import ConditionalTransformer, TransformerConfig
from paradp.policy.networks.unet import ConditionalUnet1D
from paradp.policy.spec import PolicySpec


def build_network(spec: PolicySpec) -> ConditionalNetwork:
    """The network that a specification describes, with random weights."""
    if isinstance(spec.network, TransformerConfig):
        horizons = spec.horizons
        return ConditionalTransformer(
            spec.action_size, spec.observation_size, horizons.predict, horizons.observe, spec.network
        )
    return ConditionalUnet1D(spec.action_size, spec.condition_size, spec.network)


def shapes_of(spec: PolicySpec) -> dict[str, tuple[int, ...]]:
    """Name → shape of every tensor of that network's state, without making any of them."""
    with torch.device("meta"):
        return {name: tuple(tensor.shape) for name, tensor in build_network(spec).state_dict().items()}

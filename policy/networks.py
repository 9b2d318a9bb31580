"""From a policy's specification to its network."""

from paradp.policy.conditional import ConditionalNetwork
from paradp.policy.spec import PolicySpec
from paradp.policy.transformer import ConditionalTransformer, TransformerConfig
from paradp.policy.unet import ConditionalUnet1D


def build_network(spec: PolicySpec) -> ConditionalNetwork:
    """The network that a specification describes, with random weights."""
    if isinstance(spec.network, TransformerConfig):
        horizons = spec.horizons
        return ConditionalTransformer(
            spec.action_size, spec.observation_size, horizons.predict, horizons.observe, spec.network
        )
    return ConditionalUnet1D(spec.action_size, spec.condition_size, spec.network)

"""The transformer of Diffusion Policy: noisy actions attend to the timestep and the observations."""

import torch
from torch import Tensor, nn

from paradp.policy.networks.conditional import ConditionalNetwork, SinusoidalEmbedding
from paradp.policy.networks.transformer_config import TransformerConfig
from paradp.policy.spec import PolicySpec


def build(spec: PolicySpec, config: TransformerConfig) -> "ConditionalTransformer":
    """Builds the network for a policy's actions and observations, with random weights."""
    horizons = spec.horizons
    return ConditionalTransformer(spec.action_size, spec.encoded_size, horizons.predict, horizons.observe, config)


class ConditionalTransformer(ConditionalNetwork):
    """Predicts noise (or the sample, or v) for noisy action chunks.

    The time-series diffusion transformer of Chi et al. 2023, §4.1: one token per noisy action, decoded with causal attention
    among the actions; an action also attends to the timestep and to the observations that are not later than it. As there,
    normalisation comes before each block, the observations pass a two-layer perceptron, and positions are learned. Without
    the dropout of the original, so that a resumed training equals an uninterrupted one.

    Args:
        action_size: A.
        observation_size: O, of one observed step.
        horizon: H, actions in a chunk.
        observed: To, observed steps.
        config: sizes.
    """

    causal: Tensor
    seen: Tensor

    def __init__(self, action_size: int, observation_size: int, horizon: int, observed: int, config: TransformerConfig):
        super().__init__()
        size = config.embedding
        self.observed = observed
        self.embed_action = nn.Linear(action_size, size)
        self.embed_observation = nn.Linear(observation_size, size)
        self.embed_timestep = SinusoidalEmbedding(size)
        self.action_position = nn.Parameter(torch.empty(horizon, size))
        self.condition_position = nn.Parameter(torch.empty(1 + observed, size))
        self.encoder = nn.Sequential(nn.Linear(size, 4 * size), nn.Mish(), nn.Linear(4 * size, size))
        layer = nn.TransformerDecoderLayer(
            size, config.heads, 4 * size, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.decoder = nn.TransformerDecoder(layer, config.layers, nn.LayerNorm(size))
        self.head = nn.Linear(size, action_size)
        step, token = torch.arange(horizon)[:, None], torch.arange(1 + observed)
        # True where attention is not allowed. Token 0 is the timestep, token s the observation of step s − 1.
        self.register_buffer("causal", torch.arange(horizon) > step, persistent=False)
        self.register_buffer("seen", token - 1 > step, persistent=False)
        self.apply(_initialise)
        for position in (self.action_position, self.condition_position):
            nn.init.normal_(position, std=0.02)

    def encode_timestep(self, timestep: Tensor) -> Tensor:
        """Computes the timestep's token, `[n, E]`."""
        return self.encoder(self.embed_timestep(timestep) + self.condition_position[0])

    def encode_condition(self, condition: Tensor) -> Tensor:
        """Computes the observations' tokens, `[n, To·E]`, from conditions `[n, To·O]`."""
        observations = self.embed_observation(condition.unflatten(1, (self.observed, -1)))
        return self.encoder(observations + self.condition_position[1:]).flatten(1)

    def denoise(self, x: Tensor, timestep: Tensor, condition: Tensor) -> Tensor:
        memory = torch.cat([timestep[:, None], condition.unflatten(1, (self.observed, -1))], 1)
        actions = self.embed_action(x) + self.action_position
        # Otherwise every call compares the mask with a causal one, and waits for the GPU.
        decoded = self.decoder(actions, memory, self.causal, self.seen, tgt_is_causal=True)
        return self.head(decoded)


def _initialise(module: nn.Module) -> None:
    """Initialises with small normal weights and zero biases, as in GPT-2 and the original."""
    if isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)
    elif isinstance(module, nn.MultiheadAttention):
        nn.init.normal_(module.in_proj_weight, std=0.02)
        nn.init.zeros_(module.in_proj_bias)

"""The network of a trained draft: a small network that estimates how a large one's predictions change with their states."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from paradp.policy.files.limits import MOST_CHANNELS, within
from paradp.policy.networks.building import build_network
from paradp.policy.spec import PolicySpec

# Largest number of a draft's multiply-adds per row, as a share of the policy's network.
SHARE = 0.02
# Sizes to choose from, largest first; larger ones overfit within minutes of training.
SIZES = (128, 96, 64, 48, 32, 16, 8)
_BUMPS = 12
# Steps clip held predictions to 1; beyond this value a prediction carries no more information than "clipped".
_MOST_HELD = 1.5
_MOST_LAG = 5.0


@dataclass(frozen=True)
class DraftConfig:
    """Sizes of a `DraftNetwork`.

    Attributes:
        rank: r, the rank of the correction.
        hidden: width of the layers that compute the gains.
    """

    rank: int
    hidden: int

    def __post_init__(self) -> None:
        within("rank", self.rank, 1, MOST_CHANNELS)
        within("hidden", self.hidden, 1, MOST_CHANNELS)


class DraftNetwork(nn.Module):
    """A `paradp.sampler.DraftModel` with a first guess at the sample.

    The gains depend on the held prediction, which estimates the plan, on the state where it was made, on the noise level,
    and on its age in steps. Initially they are 0: such a draft keeps predictions as they are.

    Args:
        size: D, the elements of a chunk.
        condition_size: C.
        config: sizes.
    """

    levels: Tensor

    def __init__(self, size: int, condition_size: int, config: DraftConfig):
        super().__init__()
        self.config = config
        # Logarithms of the lowest and highest signal-to-noise ratio in training.
        self.register_buffer("levels", torch.tensor([-10.0, 10.0]))
        self.into = nn.Parameter(nn.init.orthogonal_(torch.empty(size, config.rank)))
        self.out = nn.Parameter(self.into.detach().T.clone())
        self.look = nn.Linear(2 * size + _BUMPS + 3, config.hidden)
        self.mix = nn.Linear(config.hidden, config.hidden)
        self.gain = nn.Linear(config.hidden, config.rank)
        nn.init.zeros_(self.gain.weight)
        nn.init.zeros_(self.gain.bias)
        self.guess = nn.Sequential(nn.Linear(condition_size, config.hidden), nn.SiLU(), nn.Linear(config.hidden, size))

    def gains(self, held: Tensor, made_at: Tensor, snr: Tensor, snr_held: Tensor) -> Tensor:
        """See `paradp.sampler.DraftModel`."""
        lag = (snr / snr_held).log().clamp(0, _MOST_LAG) / 2
        known = torch.cat([lag, (snr == snr_held).to(held), (snr_held == 0).to(held)], 1)
        held = held.clamp(-_MOST_HELD, _MOST_HELD)
        h = nn.functional.silu(self.look(torch.cat([held, made_at, self._bumps(snr.log()), known], 1)))
        h = h + nn.functional.silu(self.mix(h))
        return self.gain(h)

    def first_guess(self, condition: Tensor) -> Tensor:
        """Returns a first guess at the samples, `[B, D]`, for conditions `[B, C]`."""
        return self.guess(condition)

    def _bumps(self, level: Tensor) -> Tensor:
        """Encodes a noise level `[n, 1]` as `[n, 12]` smooth bumps over the levels of the training."""
        place = (level - self.levels[0]) / (self.levels[1] - self.levels[0]) * (_BUMPS - 1)
        return (-0.5 * (place.clamp(-1, _BUMPS) - torch.arange(_BUMPS, device=level.device)) ** 2).exp()


def build_draft(spec: PolicySpec, config: DraftConfig) -> DraftNetwork:
    """Builds a draft for a policy, with random weights."""
    return DraftNetwork(spec.horizons.predict * spec.action_size, spec.condition_size, config)


def draft_shapes(spec: PolicySpec, config: DraftConfig) -> dict[str, tuple[int, ...]]:
    """Name → shape of each tensor in its state, without allocating them."""
    with torch.device("meta"):
        return {name: tuple(tensor.shape) for name, tensor in build_draft(spec, config).state_dict().items()}


def draft_config(spec: PolicySpec) -> DraftConfig:
    """Chooses the largest draft within `SHARE` of the policy's network.

    Raises:
        ValueError: the policy's network is too small for any draft.
    """
    most = SHARE * network_cost(spec)
    for size in SIZES:
        if draft_cost(spec, config := DraftConfig(size, size)) <= most:
            return config
    raise ValueError(f"the policy's network is too small for a draft: {most / SHARE:.2g} multiply-adds a row")


def network_cost(spec: PolicySpec) -> int:
    """The multiply-adds of the policy's network for a row, without those that are computed once per plan."""
    with torch.device("meta"):
        network = build_network(spec)
        x = torch.zeros(1, spec.horizons.predict, spec.action_size)
        timestep = network.encode_timestep(torch.zeros(1, dtype=torch.int64))
        condition = network.encode_condition(torch.zeros(1, spec.condition_size))
        return _multiply_adds(lambda: network.denoise(x, timestep, condition))


def draft_cost(spec: PolicySpec, config: DraftConfig) -> int:
    """The multiply-adds of a draft for a row: its gains and its correction."""
    with torch.device("meta"):
        draft, level = build_draft(spec, config), torch.ones(1, 1)
        row = torch.zeros(1, len(draft.into))
        return _multiply_adds(lambda: (draft.gains(row, row, level, level) * (row @ draft.into)) @ draft.out)


def _multiply_adds(compute: Callable[[], Tensor]) -> int:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        compute()
    return math.ceil(counter.get_total_flops() / 2)

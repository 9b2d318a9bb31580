"""The network of a trained draft: a small one that says how a large one's predictions follow their states."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from paradp.policy.files.limits import MOST_CHANNELS, within
from paradp.policy.networks.building import build_network
from paradp.policy.spec import PolicySpec

# Of the multiply-adds of the policy's network, for a row: so many a draft may have.
SHARE = 0.02
# The sizes that are tried, from the largest: more than the first overfit minutes of training.
SIZES = (128, 96, 64, 48, 32, 16, 8)
_BUMPS = 12
# What is held is clipped by the step, and at most this far beyond 1 it says more than that it is clipped.
_MOST_HELD = 1.5
_MOST_LAG = 5.0


@dataclass(frozen=True)
class DraftConfig:
    """Sizes of a `DraftNetwork`.

    Attributes:
        rank: r, of the correction.
        hidden: width of the layers that compute its gains.
    """

    rank: int
    hidden: int

    def __post_init__(self) -> None:
        within("rank", self.rank, 1, MOST_CHANNELS)
        within("hidden", self.hidden, 1, MOST_CHANNELS)


class DraftNetwork(nn.Module):
    """A `paradp.sampler.DraftModel`, and a first guess at the sample.

    The gains depend on the held prediction, which says where the plan goes, on the state that it was made at, on the noise
    level, and on how long ago it was made. At first they are 0: such a draft holds predictions as they are.

    Args:
        size: D, the elements of a chunk.
        condition_size: C.
        config: sizes.
    """

    levels: Tensor

    def __init__(self, size: int, condition_size: int, config: DraftConfig):
        super().__init__()
        self.config = config
        # The logarithms of the lowest and highest signal-to-noise ratio that it was trained at.
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
        """A first guess at the samples, `[B, D]`, for conditions `[B, C]`."""
        return self.guess(condition)

    def _bumps(self, level: Tensor) -> Tensor:
        """A noise level `[n, 1]` as `[n, 12]` smooth bumps over the levels of the training."""
        place = (level - self.levels[0]) / (self.levels[1] - self.levels[0]) * (_BUMPS - 1)
        return (-0.5 * (place.clamp(-1, _BUMPS) - torch.arange(_BUMPS, device=level.device)) ** 2).exp()


def build_draft(spec: PolicySpec, config: DraftConfig) -> DraftNetwork:
    """A draft for a policy, with random weights."""
    return DraftNetwork(spec.horizons.predict * spec.action_size, spec.condition_size, config)


def draft_shapes(spec: PolicySpec, config: DraftConfig) -> dict[str, tuple[int, ...]]:
    """Name → shape of every tensor of its state, without making any of them."""
    with torch.device("meta"):
        return {name: tuple(tensor.shape) for name, tensor in build_draft(spec, config).state_dict().items()}


def draft_config(spec: PolicySpec) -> DraftConfig:
    """The largest draft within its share of the policy's network.

    Raises:
        ValueError: the policy's network is so small that none is.
    """
    most = SHARE * network_cost(spec)
    for size in SIZES:
        if draft_cost(spec, config := DraftConfig(size, size)) <= most:
            return config
    raise ValueError(f"the policy's network is too small for a draft: {most / SHARE:.2g} multiply-adds a row")


def network_cost(spec: PolicySpec) -> int:
    """The multiply-adds of the policy's network for a row, without what is computed once a plan."""
    with torch.device("meta"):
        network = build_network(spec)
        x = torch.zeros(1, spec.horizons.predict, spec.action_size)
        timestep = network.encode_timestep(torch.zeros(1, dtype=torch.int64))
        condition = network.encode_condition(torch.zeros(1, spec.condition_size))
        return _multiply_adds(lambda: network.denoise(x, timestep, condition))


def draft_cost(spec: PolicySpec, config: DraftConfig) -> int:
    """The multiply-adds of a draft for a row: its gains, and the correction with them."""
    with torch.device("meta"):
        draft, level = build_draft(spec, config), torch.ones(1, 1)
        row = torch.zeros(1, len(draft.into))
        return _multiply_adds(lambda: (draft.gains(row, row, level, level) * (row @ draft.into)) @ draft.out)


def _multiply_adds(compute: Callable[[], Tensor]) -> int:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        compute()
    return math.ceil(counter.get_total_flops() / 2)

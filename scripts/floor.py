"""The minimum time of a plan on the hardware."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from paradp.policy import DiffusionPolicy, Precision
from paradp.policy.engines.timing import timed


@dataclass(frozen=True)
class Floor:
    """Measured limits of the hardware: the bandwidth for the network's weights, and the peak of its arithmetic.

    Attributes:
        parameters: number of the network's parameters.
        flops: floating-point operations of one row.
        bandwidth: bytes per second that a copy reads and writes.
        cache: bytes of the last-level cache; weights that fit into it are not read again in every round.
        peak: precision → floating-point operations per second of a large matrix product.
    """

    parameters: int
    flops: float
    bandwidth: float
    cache: float
    peak: dict[Precision, float]

    def weights_ms(self, precision: Precision) -> float:
        """Milliseconds for reading the weights once."""
        return 1000 * self.parameters * _BYTES[precision] / self.bandwidth

    def arithmetic_ms(self, evaluations: float, precision: Precision) -> float:
        """Milliseconds of the network's arithmetic for a number of rows at the machine's peak."""
        return 1000 * evaluations * self.flops / self.peak[precision]

    def plan_ms(self, rounds: float, evaluations: float, precision: Precision) -> float:
        """The minimum milliseconds of a plan."""
        cached = self.parameters * _BYTES[precision] <= self.cache
        return max(self.arithmetic_ms(evaluations, precision), (1 if cached else rounds) * self.weights_ms(precision))

    def describe(self) -> str:
        weights = self.parameters * _BYTES["fp32"]
        reads = "once a plan, for they fit" if weights <= self.cache else "in every round, for they do not fit"
        rows = [f"{self.arithmetic_ms(1, p):.2f} ms in {p} at {peak / 1e9:.0f} GFLOP/s" for p, peak in self.peak.items()]
        return (
            f"The floor: {weights / 1e6:.0f} MB of fp32 weights take {self.weights_ms('fp32'):.2f} ms at "
            f"{self.bandwidth / 1e9:.0f} GB/s, {reads} into the last cache ({self.cache / 1e6:.0f} MB); "
            f"{self.flops / 1e6:.0f} MFLOP a row take {', '.join(rows)}."
        )


_BYTES: dict[Precision, int] = {"fp32": 4, "bf16": 2}
# Orders of the matrix products that measure the peak, and the time limit of one.
SMALLEST, LARGEST, QUICK_SECONDS = 128, 2048, 0.5
_TYPES: dict[Precision, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16}


@torch.no_grad()
def measure_floor(policy: DiffusionPolicy, device: str) -> Floor:
    """Measures bandwidth and peak in PyTorch; takes the best of several measurements.

    The bandwidth is that of a copy of 256 MB, the peak that of a matrix product of order 2048, or less if that is slow.
    """
    place, spec = torch.device(device), policy.spec
    network = policy.network.to(place)
    x = torch.zeros(1, spec.horizons.predict, spec.action_size, device=place)
    encoded = (
        network.encode_timestep(torch.zeros(1, dtype=torch.int64, device=place)),
        network.encode_condition(torch.zeros(1, spec.condition_size, device=place)),
    )
    with FlopCounterMode(display=False) as counter:
        network.denoise(x, *encoded)
    source = torch.ones(64 * 2**20, device=place)
    target = torch.empty_like(source)
    copied = _best(lambda: target.copy_(source), place)
    peak = {precision: _peak(kind, place) for precision, kind in _TYPES.items()}
    parameters = sum(p.numel() for p in network.parameters())
    return Floor(parameters, counter.get_total_flops(), 2 * source.numel() * 4 / copied, _last_cache(place), peak)


def _peak(kind: torch.dtype, device: torch.device) -> float:
    """The peak from a product of order 2048, or less if that is slow: without bf16 instructions it may take a minute."""
    order = SMALLEST
    while True:
        square = torch.ones(order, order, device=device, dtype=kind)
        torch.mm(square, square)  # the first one loads the library
        taken = timed(partial(torch.mm, square, square), device)
        if order >= LARGEST or 8 * taken > QUICK_SECONDS:  # the next takes eight times as long, or less
            return 2 * order**3 / min(taken, _best(partial(torch.mm, square, square), device))
        order *= 2


def _best(work: Callable[[], object], device: torch.device) -> float:
    """The shortest of up to ten times, measured for about a second."""
    times = [timed(work, device)]
    while len(times) < 10 and sum(times) < 1:
        times.append(timed(work, device))
    return min(times)


def _last_cache(device: torch.device, caches: Path = Path("/sys/devices/system/cpu/cpu0/cache")) -> float:
    """Bytes of the largest cache; 0 if unknown."""
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).L2_cache_size
    return max((_bytes(path.read_text().strip()) for path in caches.glob("index*/size")), default=0.0)


def _bytes(size: str) -> float:
    """Parses `32K` or `16M`; 0 if that fails."""
    unit = {"K": 2**10, "M": 2**20, "G": 2**30}.get(size[-1:], 1)
    digits = size.rstrip("KMG")
    return float(digits) * unit if digits.isdecimal() else 0.0

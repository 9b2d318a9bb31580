"""What the prediction for several devices is made of: rounds, calls of the network, and the host's time."""

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch

from paradp.policy import DiffusionPolicy, PolicySpec, Precision, build_engine
from paradp.policy.engines.fused import overlapping_pays
from paradp.policy.engines.spread import SpreadEngine
from paradp.policy.engines.timing import time_call, timed
from paradp.policy.networks.building import build_network
from paradp.policy.networks.conditional import ConditionalNetwork
from paradp.policy.networks.widening import widened, widened_spec
from paradp.sampler import Graphs
from paradp.scripts.console import each
from paradp.scripts.studies.bench import Bench
from paradp.scripts.studies.scaling_model import Calls, NetworkTimes

OBSERVATIONS, SEED = 16, 20_000
# By steps of the solver: the parallel sampler, and its windows.
SAMPLERS: dict[int, tuple[str, tuple[int, ...]]] = {
    100: ("speculative-ddpm", (2, 3, 5, 8, 12, 20, 30, 50, 100)),
    20: ("speculative-ddpm-20:spacing=sine", (2, 3, 4, 6, 10, 20)),
}
# How many times the channels, and the rows, of what is measured on the machine at hand.
WIDER, ROWS = {"cpu": (1, 2, 4), "cuda": (1, 2, 4, 8)}, {"cpu": (1, 2, 4, 8), "cuda": (1, 2, 4, 8, 16, 32, 64, 100)}
# Robots planned together, as in the recorded benches.
BATCHES = (1, 8)


@dataclass(frozen=True)
class PublishedGpu:
    """What the page on a GPU holds.

    Attributes:
        card: its name.
        networks: smallest first.
        own: seconds of a plan outside the network, by batch: the median.
        plans: recorded ones of parallel samplers with DDPM-100's distribution, in bf16.
    """

    card: str
    networks: list[NetworkTimes]
    own: dict[int, float]
    plans: list[dict[str, Any]]

    @classmethod
    def read(cls, folder: Path, spec: PolicySpec) -> "PublishedGpu":
        """From the data beside the page; the networks are a policy's with every channel copied.

        Raises:
            ValueError: the data are not there.
        """
        if not (folder / "calls.json").is_file():
            raise ValueError(f"{folder}/calls.json is missing; it lies in docs/results/gpu: use --out docs/results")
        calls = [one for one in json.loads((folder / "calls.json").read_text()) if one["precision"] == "bf16"]
        networks = [_published(calls, spec, factor) for factor in sorted({one["widen"] for one in calls})]
        rows = [row for path in sorted(folder.glob("bench-*.json")) for row in json.loads(path.read_text())]
        plans = [row for row in rows if row["precision"] == "bf16" and row["law"] == "exact" and row["name"] != "ddpm"]
        own = {
            batch: median((1 - row["network_share"]) * row["p50_ms"] / 1000 for row in plans if row["batch"] == batch)
            for batch in BATCHES
        }
        return cls(json.loads((folder / "machine.json").read_text())["gpu"], networks, own, plans)


def _published(calls: list[dict[str, Any]], spec: PolicySpec, factor: int) -> NetworkTimes:
    """A network with its calls, by the kind of kernels that the engine chooses."""
    parameters, row_bytes = _sizes(widened_spec(spec, factor))
    taken = {
        one["rows"]: one["ms"] / 1000
        for one in calls
        if one["widen"] == factor and one["overlapped"] == overlapping_pays(one["rows"], parameters, torch.bfloat16)
    }
    return NetworkTimes(parameters, row_bytes, Calls(dict(sorted(taken.items()))))


def rounds_of(policy: DiffusionPolicy) -> Iterator[tuple[int, dict[int, list[int]]]]:
    """By steps and window, of each observation; a window of 1 is one step after another."""
    bench = Bench(policy, OBSERVATIONS, SEED)
    for steps, (parallel, windows) in SAMPLERS.items():
        made = {1: [steps]}
        for window in each(f"rounds, {steps} steps", windows):
            made[window] = bench.measure(f"{parallel}:window={window}").rounds.tolist()
        yield steps, made


def _sizes(spec: PolicySpec) -> tuple[int, int]:
    """A network's parameters, and the bytes that a row sends and gets back: chunks, a timestep, the encoded observation."""
    with torch.device("meta"):
        network: ConditionalNetwork = build_network(spec)
        encoded = network.encode_condition(torch.zeros(1, spec.condition_size)).shape[1]
    chunk = spec.horizons.predict * spec.action_size
    return sum(p.numel() for p in network.parameters()), 4 * (2 * chunk + encoded) + 8


def measure_calls(policy: DiffusionPolicy, factor: int) -> NetworkTimes:
    """The calls of a wider network on the machine at hand."""
    device = policy.device
    network, spec = widened(policy.network, policy.spec, factor)
    engine = build_engine(network, spec, device, "eager" if device.type == "cpu" else "auto")
    return NetworkTimes(*_sizes(spec), Calls({n: time_call(engine, spec, device, n) for n in ROWS[device.type]}))


class _Nothing:
    """An engine that computes nothing."""

    name = "nothing"
    precision: Precision = "fp32"
    graphs: Graphs | None = None

    def encode(self, condition: torch.Tensor) -> torch.Tensor:
        return condition

    def prepare(self, rows: Sequence[int]) -> None:
        pass

    def __call__(self, x: torch.Tensor, t: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
        return x


def host_seconds(policy: DiffusionPolicy, rows: int = 100, devices: int = 8, times: int = 200) -> float:
    """What a spread call costs the host a device, in Python and PyTorch, on a CPU and with engines that compute nothing."""
    engine = SpreadEngine([_Nothing()] * devices, [torch.device("cpu")] * devices)
    spec = policy.spec
    x, t = torch.zeros(rows, spec.horizons.predict, spec.action_size), torch.zeros(rows, dtype=torch.int64)
    condition, taken = torch.zeros(rows, 1), []
    for _ in range(times):
        began = time.perf_counter()
        engine(x, t, condition)
        taken.append(time.perf_counter() - began)
    return median(taken) / devices


def copied_bytes(device: torch.device) -> float:
    """Bytes a second of a copy of 64 MB within a device's memory."""
    source = torch.ones(16 * 2**20, device=device)
    target = torch.empty_like(source)
    return 4 * source.numel() / min(timed(lambda: target.copy_(source), device) for _ in range(5))

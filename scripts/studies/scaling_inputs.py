"""The inputs of the prediction for several devices: rounds, network calls, and the host's time."""

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
# Number of steps → the parallel sampler, and its windows.
SAMPLERS: dict[int, tuple[str, tuple[int, ...]]] = {
    100: ("speculative-ddpm", (2, 3, 5, 8, 12, 20, 30, 50, 100)),
    20: ("speculative-ddpm-20:spacing=sine", (2, 3, 4, 6, 10, 20)),
}
# For measurements on this machine, by type of device: factors of the network's channels, and numbers of rows.
WIDER, ROWS = {"cpu": (1, 2, 4), "cuda": (1, 2, 4, 8)}, {"cpu": (1, 2, 4, 8), "cuda": (1, 2, 4, 8, 16, 32, 64, 100)}
# Numbers of robots planned together, as in the recorded benches.
BATCHES = (1, 8)


@dataclass(frozen=True)
class PublishedGpu:
    """The published measurements on a GPU.

    Attributes:
        card: name of the GPU.
        networks: network times, smallest network first.
        own: batch → median seconds of a plan outside the network.
        plans: recorded plans of parallel samplers with DDPM-100's distribution, in bf16.
    """

    card: str
    networks: list[NetworkTimes]
    own: dict[int, float]
    plans: list[dict[str, Any]]

    @classmethod
    def read(cls, folder: Path, spec: PolicySpec) -> "PublishedGpu":
        """Reads the data beside the page; the networks are a policy's with every channel copied.

        Raises:
            ValueError: the data are missing.
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
    """A network's published times, with the kernels that the engine would choose (overlapping or not)."""
    parameters, row_bytes = _sizes(widened_spec(spec, factor))
    taken = {
        one["rows"]: one["ms"] / 1000
        for one in calls
        if one["widen"] == factor and one["overlapped"] == overlapping_pays(one["rows"], parameters, torch.bfloat16)
    }
    return NetworkTimes(parameters, row_bytes, Calls(dict(sorted(taken.items()))))


def rounds_of(policy: DiffusionPolicy) -> Iterator[tuple[int, dict[int, list[int]]]]:
    """Yields the number of steps, and window → rounds of each observation; window 1 is sequential sampling."""
    bench = Bench(policy, OBSERVATIONS, SEED)
    for steps, (parallel, windows) in SAMPLERS.items():
        counts = {1: [steps]}
        for window in each(f"rounds, {steps} steps", windows):
            counts[window] = bench.measure(f"{parallel}:window={window}").rounds.tolist()
        yield steps, counts


def _sizes(spec: PolicySpec) -> tuple[int, int]:
    """A network's number of parameters, and the bytes sent and received for a row: chunks, timestep, encoded observation."""
    with torch.device("meta"):
        network: ConditionalNetwork = build_network(spec)
        encoded = network.encode_condition(torch.zeros(1, spec.condition_size)).shape[1]
    chunk = spec.horizons.predict * spec.action_size
    return sum(p.numel() for p in network.parameters()), 4 * (2 * chunk + encoded) + 8


def measure_calls(policy: DiffusionPolicy, factor: int) -> NetworkTimes:
    """Times the calls of a network with `factor` times the channels on this machine."""
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
    """The host's time for spreading a call, per device: Python and PyTorch, on a CPU, with engines that compute nothing."""
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
    """Bytes per second of a copy of 64 MB within a device's memory."""
    source = torch.ones(16 * 2**20, device=device)
    target = torch.empty_like(source)
    return 4 * source.numel() / min(timed(lambda: target.copy_(source), device) for _ in range(5))

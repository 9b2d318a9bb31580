"""A sampler on an engine whose plans are timed: one row of `paradp bench`."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from paradp.policy import DiffusionPolicy, Engine, Precision
from paradp.policy.engines.timing import time_call, wait_for_results
from paradp.sampler import NoisePath, SamplerChoice, Solution, Solver
from paradp.sampler.rounds.device import wait_until_idle
from paradp.scripts.encoding_time import EncodingTime

USUAL, PUBLISHED = "usual", "para-ddpm as published"


@dataclass(frozen=True)
class BenchRow:
    """One sampler on one engine.

    Attributes:
        name: name of the sampler, `usual`, or ParaDDPM as published.
        sampler: the measured sampler, if the name stands for the fastest.
        engine, precision, threads: software, number format and threads of the network.
        batch: environments planned together.
        parameters: number of the network's parameters.
        p50_ms, p95_ms, p99_ms: times of a whole plan, including conditioning and noise.
        rounds, evaluations: means per plan and environment.
        network_share: share of the time inside the network.
        memory_mb: memory that engine, compilation and first plan added to the process's resident memory (on GPUs, to the
            sum of their peaks).
        plans: number of timed plans.
        law: the distribution of the plans compared with sequential DDPM (100 steps, same network and engine): `exact`ly the
            same, the same within a `tolerance`, or an`other`. The name is the key in JSON files.
        error_median: error relative to the sequential sampler with the same noise, normalised units; `None` if it should not
            be equal.
        encode_ms: time to encode the images, once per plan and not included in the other times; `None` without images.
    """

    name: str
    sampler: str
    engine: str
    precision: Precision
    threads: int
    batch: int
    parameters: int
    p50_ms: float
    p95_ms: float
    p99_ms: float
    rounds: float
    evaluations: float
    network_share: float
    memory_mb: float
    plans: int
    law: str
    error_median: float | None
    encode_ms: float | None = None


class TimedEngine:
    """An engine that measures its own time; not for captured rounds."""

    def __init__(self, engine: Engine):
        self._engine = engine
        self.name, self.precision, self.graphs = engine.name, engine.precision, engine.graphs
        self.seconds = 0.0

    def encode(self, condition: Tensor) -> Tensor:
        return self._timed(self._engine.encode, condition)

    def prepare(self, rows: Sequence[int]) -> None:
        self._engine.prepare(rows)

    def __call__(self, x: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        return self._timed(self._engine, x, t, condition)

    def _timed(self, function: Callable[..., Tensor], *arguments: Tensor) -> Tensor:
        wait_until_idle(arguments[0].device)
        started = time.perf_counter()
        result = function(*arguments)
        wait_until_idle(arguments[0].device)
        self.seconds += time.perf_counter() - started
        return result


class Contender:
    """A sampler on an engine, and the times of its plans, from which a row is made."""

    def __init__(
        self,
        name: str,
        sampler: str,
        build: Callable[[], Engine],
        solver: Solver,
        policy: DiffusionPolicy,
        batch: int,
    ):
        self.name, self._sampler, self._batch = name, sampler, batch
        self._solver, self._policy = solver, policy
        before = _memory_in_use(policy.devices)
        self._engine = build()
        self._memory = max(0.0, _memory_in_use(policy.devices) - before)
        # On a GPU, timing calls would wait for the device in every round.
        self._timed = TimedEngine(self._engine) if policy.device.type == "cpu" else None
        self._seconds: list[float] = []
        self._solutions: list[Solution] = []

    def plan(self, condition: Tensor, seed: int, shape: tuple[int, int], warm_up: bool) -> None:
        """Makes and times one plan for conditions `[B, C]`, from the first draw of noise on; the first plan warms up."""
        device = condition.device
        before = _memory_in_use(self._policy.devices)
        # Not for captured rounds: `prepare` would release those of other contenders on the same engine.
        if warm_up and self._engine.graphs is None:
            self._engine.prepare(range(1, self._batch * self._solver.window + 1))
        wait_until_idle(device)
        engine = self._timed or self._engine
        started = time.perf_counter()
        generators = [torch.Generator().manual_seed(seed + i) for i in range(len(condition))]
        noise = NoisePath.draw(generators, self._solver.table.steps, shape, device)
        solution = self._solver.solve(engine, engine.encode(condition), noise)
        wait_for_results(device)
        seconds = time.perf_counter() - started
        if not warm_up:
            self._seconds.append(seconds)
            self._solutions.append(solution)
            return
        self._memory += max(0.0, _memory_in_use(self._policy.devices) - before)
        if self._timed:
            self._timed.seconds = 0.0

    def row(self, contenders: "Sequence[Contender]", encoding: EncodingTime) -> BenchRow:
        p50, p95, p99 = np.percentile(1000 * np.array(self._seconds), [50, 95, 99])
        rounds = _mean([s.stats.rounds for s in self._solutions])
        law = self._distribution()
        return BenchRow(
            self.name,
            self._sampler,
            self._engine.name,
            self._engine.precision,
            torch.get_num_threads(),
            self._batch,
            sum(p.numel() for p in self._policy.network.parameters()),
            float(p50),
            float(p95),
            float(p99),
            rounds,
            _mean([s.stats.evaluations for s in self._solutions]),
            self._network_seconds() / sum(self._seconds),
            self._memory / 1e6,
            len(self._seconds),
            law,
            self._error(contenders) if law == "tolerance" else None,
            encoding.p50_ms(self._engine),
        )

    def _distribution(self) -> str:
        """The relation of the distribution to that of DDPM on all timesteps of the training."""
        if self._sampler in (USUAL, PUBLISHED):
            return "exact" if self._sampler == USUAL else "tolerance"
        choice = SamplerChoice.parse(self._sampler)
        if choice.measured or str(choice.sequential) != "ddpm":
            return "other"
        return "exact" if choice.exact else "tolerance"

    def _network_seconds(self) -> float:
        """Time in the network, of all plans together; on a GPU estimated from single calls."""
        if self._timed:
            return self._timed.seconds
        call = time_call(self._engine, self._policy.spec, self._policy.device, self._batch * self._solver.window)
        return call * sum(float(solution.stats.rounds.max()) for solution in self._solutions)

    def _error(self, contenders: "Sequence[Contender]") -> float:
        """Median over chunks of the largest difference from sequential DDPM with the same engine and noise."""
        (reference,) = (
            c for c in contenders if c.name == "ddpm" and c.computes_as(self._engine.name, self._engine.precision)
        )
        pairs = zip(self._solutions, reference._solutions, strict=False)
        return float(torch.cat([(one.sample - other.sample).abs().amax((1, 2)) for one, other in pairs]).median())

    def computes_as(self, engine: str, precision: Precision) -> bool:
        """Whether it has this engine and precision."""
        return (self._engine.name, self._engine.precision) == (engine, precision)


def _memory_in_use(devices: Sequence[torch.device]) -> float:
    """Bytes of memory: the GPUs' peak since the last call, or the process's resident memory."""
    if devices[0].type == "cuda":
        most = sum(torch.cuda.max_memory_allocated(device) for device in devices)
        for device in devices:
            torch.cuda.reset_peak_memory_stats(device)
        return most
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096.0


def _mean(counts: list[Tensor]) -> float:
    return float(torch.stack(counts).double().mean())

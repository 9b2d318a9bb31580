"""How long a plan takes: samplers and engines in turns, beside what others run, and the floor that the hardware sets."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from paradp.policy import DiffusionPolicy, Engine, EngineName, Planner, Precision, build_engine
from paradp.policy.engines.autotune.candidates import Candidates, by_rule
from paradp.policy.engines.timing import time_call, wait_for
from paradp.sampler import NoisePath, SamplerChoice, Solution, Solver
from paradp.scripts.baselines import PlainNetwork, PublishedParaDDPM, UsualLoop

USUAL, PUBLISHED = "usual", "para-ddpm as published"
FEW_STEPS = ("ddim-5", "ddim-10", "ddim-15", "ddim-16", "ddim-25")
# What each engine is measured with; the device's fastest in fp32 with everything.
SAMPLERS = (
    "ddpm",
    "auto",
    "auto-fast",
    "speculative-ddpm:window=3",
    "speculative-ddpm:window=5",
    "speculative-ddpm:window=8",
    "speculative-ddpm",
    "para-ddpm",
    PUBLISHED,
    *FEW_STEPS,
)
TAILS, TAIL_PLANS = ("ddpm", "auto"), 100
SOME_SAMPLERS = ("ddpm", "speculative-ddpm:window=8", PUBLISHED, "ddim-10")


@dataclass(frozen=True)
class BenchRow:
    """One sampler on one engine.

    Attributes:
        name: of the sampler, `usual`, or ParaDDPM as published.
        sampler: what was measured where the name stands for the fastest.
        engine, precision, threads: what computed.
        batch: environments planned together.
        p50_ms, p95_ms, p99_ms: of a whole plan, conditioning and noise included.
        rounds, evaluations: means a plan and environment.
        network_share: of the time, inside the network.
        memory_mb: what engine, compilation and first plan added to the process's resident memory (on a GPU, its peak).
        plans: how many were timed.
        law: `exact`, `tolerance` or `other`, beside sequential DDPM with 100 steps on that engine's network.
        error_median: to the sequential sampler on the same noise, normalised units; `None` where there is none to equal.
    """

    name: str
    sampler: str
    engine: str
    precision: Precision
    threads: int
    batch: int
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


# Arithmetic that takes longer than this many times what fp32 takes is not worth minutes of measuring.
SLOW_ARITHMETIC = 1.5


@dataclass(frozen=True)
class Wanted:
    """A contender to be built: a sampler on an engine."""

    name: str
    engine: EngineName | None
    precision: Precision = "fp32"


class Bench:
    """Times plans; all contenders take turns. Call `build`, `warm_up`, `measure` and `rows`, in that order.

    Args:
        policy: whose network and schedule; its own solver and engine are not used.
        conditions: `[N, C]`, normalised, on the device to measure; every turn plans for the next `batch` of them.
        batch: environments planned together.
        engines: which, the one measured with all samplers last.
        candidates: what `auto` and `auto-fast` choose among.

    Attributes:
        wanted: what is built, in order.
        left_out: what was not measured after all, and why, in sentences.
    """

    def __init__(
        self,
        policy: DiffusionPolicy,
        conditions: Tensor,
        batch: int,
        engines: Sequence[EngineName],
        candidates: Callable[[SamplerChoice], Candidates] = by_rule,
    ):
        self._candidates = candidates
        self._policy, self._conditions, self._batch, self._engines = policy, conditions, batch, engines
        self._network = policy.network.to(conditions.device).eval()
        self._contenders: list[_Contender] = []
        self.left_out: list[str] = []
        self.wanted = [
            Wanted(USUAL, None),
            *(Wanted(name, engine) for engine in engines[:-1] for name in SOME_SAMPLERS),
            *(Wanted(name, engines[-1]) for name in SAMPLERS),
            *(Wanted(name, engines[-1], "bf16") for name in SOME_SAMPLERS),
        ]

    def build(self) -> Iterator[str]:
        """Builds the contenders, each with an engine of its own, compiled for its numbers of rows; yields their names."""
        try:
            reason = self._why_not_bf16()
        except ValueError as error:
            reason = str(error)
        for wanted in self.wanted:
            if wanted.precision == "fp32" or not reason:
                self._contenders.append(self._contender(wanted))
            yield wanted.name
        if reason:
            self.left_out.append(f"{self._engines[-1]} in bf16 is left out: {reason}")

    def warm_up(self, report: Callable[[int, int], None] = lambda done, total: None) -> float:
        """Two plans of each contender: the first compiles what is needed; returns the seconds that the second ones take.

        Args:
            report: called with how many of how many plans are done.
        """
        seconds, total = 0.0, 2 * len(self._contenders)
        for done, contender in enumerate(2 * self._contenders):
            report(done, total)
            started = time.perf_counter()
            self._turn(0, [contender], warm_up=True)
            seconds += (time.perf_counter() - started) * (done >= len(self._contenders))
        report(total, total)
        return seconds

    def turns(self, repeats: int) -> int:
        """How many turns `measure` takes: for the tail of their latencies, the default sampler and the sequential one take
        more, as far as `TAIL_PLANS` environments."""
        return max(repeats, TAIL_PLANS // self._batch)

    def measure(self, repeats: int) -> Iterator[None]:
        """Measures so many plans of each; yields after every turn."""
        tails = [c for c in self._contenders if c.name in TAILS and c.computes_as(self._engines[-1], "fp32")]
        for turn in range(1, self.turns(repeats) + 1):
            self._turn(turn, self._contenders if turn <= repeats else tails)
            yield

    def rows(self) -> list[BenchRow]:
        """What was measured."""
        return [contender.row(self._contenders) for contender in self._contenders]

    def _turn(self, turn: int, contenders: "Sequence[_Contender]", warm_up: bool = False) -> None:
        rows = (torch.arange(self._batch) + turn * self._batch) % len(self._conditions)
        shape = (self._policy.spec.horizons.predict, self._policy.spec.action_size)
        for contender in contenders:
            contender.plan(self._conditions[rows], 1000 * turn, shape, warm_up)

    def _contender(self, wanted: Wanted) -> "_Contender":
        spec, device = self._policy.spec, self._conditions.device
        ddpm = SamplerChoice.parse("ddpm").build(spec.schedule).table
        if wanted.engine is None:
            usual = UsualLoop(spec.schedule, ddpm)
            return _Contender(USUAL, USUAL, lambda: PlainNetwork(self._network), usual, self._policy, self._batch)
        build = partial(build_engine, self._network, spec, device, wanted.engine, wanted.precision)
        if wanted.name == PUBLISHED:
            return _Contender(wanted.name, wanted.name, build, PublishedParaDDPM(ddpm), self._policy, self._batch)
        choice = SamplerChoice.parse(wanted.name)
        if choice.measured:
            planned = Planner(build(), self._network, spec, device).choose(self._candidates(choice), self._batch)
            choice = SamplerChoice.parse(planned.sampler)
        return _Contender(wanted.name, str(choice), build, choice.build(spec.schedule), self._policy, self._batch)

    def _why_not_bf16(self) -> str:
        """Why the last engine is not measured in bf16: it is much slower than in fp32; empty where it is not.

        Raises:
            ValueError: it cannot be built.
        """
        spec, device = self._policy.spec, self._conditions.device
        fp32, bf16 = (
            time_call(build_engine(self._network, spec, device, self._engines[-1], precision), spec, device, self._batch)
            for precision in ("fp32", "bf16")
        )
        return f"here it takes {bf16 / fp32:.1f} times as long as in fp32" if bf16 > SLOW_ARITHMETIC * fp32 else ""


class TimedEngine:
    """An engine that knows how long it was busy; not for rounds that are captured."""

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
        wait_for(arguments[0].device)
        started = time.perf_counter()
        result = function(*arguments)
        wait_for(arguments[0].device)
        self.seconds += time.perf_counter() - started
        return result


class _Contender:
    """One row in the making."""

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
        before = _memory_in_use(policy.device)
        self._engine = build()
        self._memory = max(0.0, _memory_in_use(policy.device) - before)
        # On a GPU the stopwatch would wait for the device in every round.
        self._timed = TimedEngine(self._engine) if policy.device.type == "cpu" else None
        self._seconds: list[float] = []
        self._solutions: list[Solution] = []

    def plan(self, condition: Tensor, seed: int, shape: tuple[int, int], warm_up: bool) -> None:
        """One plan for conditions `[B, C]`, timed from the first draw of noise; a first one to warm up."""
        device = condition.device
        before = _memory_in_use(device)
        if warm_up:
            self._engine.prepare(range(1, self._batch * self._solver.window + 1))
        wait_for(device)
        engine = self._timed or self._engine
        started = time.perf_counter()
        generators = [torch.Generator().manual_seed(seed + i) for i in range(len(condition))]
        noise = NoisePath.draw(generators, self._solver.table.steps, shape, device)
        solution = self._solver.solve(engine, engine.encode(condition), noise)
        wait_for(device)
        seconds = time.perf_counter() - started
        if not warm_up:
            self._seconds.append(seconds)
            self._solutions.append(solution)
            return
        self._memory += max(0.0, _memory_in_use(device) - before)
        if self._timed:
            self._timed.seconds = 0.0

    def row(self, contenders: "Sequence[_Contender]") -> BenchRow:
        p50, p95, p99 = np.percentile(1000 * np.array(self._seconds), [50, 95, 99])
        rounds = _mean([s.stats.rounds for s in self._solutions])
        law = self._law()
        return BenchRow(
            self.name,
            self._sampler,
            self._engine.name,
            self._engine.precision,
            torch.get_num_threads(),
            self._batch,
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
        )

    def _law(self) -> str:
        """How near the samples are to those of DDPM on all timesteps of the training."""
        if self._sampler in (USUAL, PUBLISHED):
            return "exact" if self._sampler == USUAL else "tolerance"
        choice = SamplerChoice.parse(self._sampler)
        if choice.measured or str(choice.sequential) != "ddpm":
            return "other"
        return "exact" if choice.exact else "tolerance"

    def _network_seconds(self) -> float:
        """Of all plans together; on a GPU a call by itself stands for those in the plans."""
        if self._timed:
            return self._timed.seconds
        call = time_call(self._engine, self._policy.spec, self._policy.device, self._batch * self._solver.window)
        return call * sum(float(solution.stats.rounds.max()) for solution in self._solutions)

    def _error(self, contenders: "Sequence[_Contender]") -> float:
        """Median over chunks of the largest difference to sequential DDPM on the same engine and noise."""
        (reference,) = (
            c for c in contenders if c.name == "ddpm" and c.computes_as(self._engine.name, self._engine.precision)
        )
        pairs = zip(self._solutions, reference._solutions, strict=False)
        return float(torch.cat([(one.sample - other.sample).abs().amax((1, 2)) for one, other in pairs]).median())

    def computes_as(self, engine: str, precision: Precision) -> bool:
        """Whether it is that engine's."""
        return (self._engine.name, self._engine.precision) == (engine, precision)


def _memory_in_use(device: torch.device) -> float:
    """Bytes: of the GPU the most since this was last asked, of the process what is resident."""
    if device.type == "cuda":
        most = torch.cuda.max_memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        return most
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096.0


def _mean(counts: list[Tensor]) -> float:
    return float(torch.stack(counts).double().mean())

"""Measures the latency of a plan: samplers and engines in turns, with other programs' loops for comparison."""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import get_args

import torch

from paradp.policy import Autotuner, DiffusionPolicy, Engine, EngineName, Precision, build_engine
from paradp.policy.engines.autotune.candidates import Candidates, by_rule
from paradp.policy.engines.timing import time_call
from paradp.policy.observations import Observation
from paradp.sampler import SamplerChoice
from paradp.scripts.baselines import PlainNetwork, PublishedParaDDPM, UsualLoop
from paradp.scripts.contenders import PUBLISHED, USUAL, BenchRow, Contender
from paradp.scripts.encoding_time import EncodingTime

FEW_STEPS = ("ddim-5", "ddim-10", "ddim-15", "ddim-16", "ddim-25", "dpm-solver-15")
# Samplers for each engine; the device's fastest engine is measured with all.
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
SOME_SAMPLERS = ("ddpm", "speculative-ddpm:window=8", PUBLISHED, "ddim-10")
# On a GPU, a round of many rows takes little longer than one of few.
GPU_SAMPLERS = (
    "ddpm",
    "auto",
    "auto-fast",
    "speculative-ddpm",
    "speculative-ddpm:window=50",
    "speculative-ddpm:ahead=30:window=100",
    "speculative-ddpm-20:spacing=sine",
    "para-ddpm",
    PUBLISHED,
    "ddim-5",
    "ddim-10",
    "dpm-solver-15",
)
SOME_GPU_SAMPLERS = ("ddpm", "speculative-ddpm:window=50", "ddim-10")
TAILS, TAIL_PLANS = ("ddpm", "auto"), 100
# A number format slower than fp32 by this factor is not measured, which would take minutes.
SLOW_ARITHMETIC = 1.5


@dataclass(frozen=True)
class Wanted:
    """A contender to build: a sampler on an engine."""

    name: str
    engine: EngineName | None
    precision: Precision = "fp32"


class PlanningBench:
    """Times plans; all contenders take turns. Call `build`, `warm_up`, `measure` and `rows`, in that order.

    Args:
        policy: the policy with network and schedule; its own solver and engine are not used.
        histories: observations, `[N, To, *shape]` by feature; every turn plans for the next `batch` of them.
        batch: environments planned together.
        engines: the engines. The last one is measured with all samplers, in fp32 on a CPU and in bf16 on a GPU, and with
            some samplers in the other precision.
        candidates: candidates of `auto` and `auto-fast`.

    Attributes:
        wanted: the contenders to build, in order.
        left_out: sentences on contenders that were not measured, with the reason.
    """

    def __init__(
        self,
        policy: DiffusionPolicy,
        histories: Observation,
        batch: int,
        engines: Sequence[EngineName],
        candidates: Callable[[SamplerChoice], Candidates] = by_rule,
    ):
        self._candidates = candidates
        self._policy, self._conditions, self._batch, self._engines = policy, policy.condition(histories), batch, engines
        self._encoding = EncodingTime(policy, histories, batch)
        self._network = policy.network
        self._contenders: list[Contender] = []
        self._captured: dict[tuple[EngineName, Precision], Engine] = {}
        self._expected: dict[Contender, float] = {}
        self.left_out: list[str] = []
        gpu = policy.device.type == "cuda"
        every, some = (GPU_SAMPLERS, SOME_GPU_SAMPLERS) if gpu else (SAMPLERS, SOME_SAMPLERS)
        self._main, other = get_args(Precision)[:: -1 if gpu else 1]
        self.wanted = [
            Wanted(USUAL, None),
            *(Wanted(name, engine) for engine in engines[:-1] for name in some),
            *(Wanted(name, engines[-1], self._main) for name in every),
            *(Wanted(name, engines[-1], other) for name in some),
        ]

    def build(self) -> Iterator[str]:
        """Builds the contenders and yields their names. Each has its own engine, compiled for its batch sizes; contenders of
        engines that capture rounds share one per precision."""
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

    def warm_up(self, report: Callable[[int, int], None] = lambda done, total: None) -> None:
        """Makes two plans of each contender: the first one compiles, the second one is timed for the number of repeats.

        Args:
            report: called with the finished and the total number of plans.
        """
        total = 2 * len(self._contenders)
        for done, contender in enumerate(2 * self._contenders):
            report(done, total)
            started = time.perf_counter()
            self._turn(0, [contender], warm_up=True)
            self._expected[contender] = time.perf_counter() - started
        report(total, total)

    def turns(self, repeats: int) -> int:
        """The number of turns of `measure`. The default sampler and the sequential one have more, up to `TAIL_PLANS`
        environments, to measure the tail of their latencies."""
        return max(repeats, TAIL_PLANS // self._batch)

    def measure(self, repeats: int, least: int | None = None, seconds: float = math.inf) -> Iterator[None]:
        """Measures plans of each contender in turns; yields after every turn.

        Args:
            repeats: number of plans of each.
            least, seconds: slow contenders make fewer, as many as fit into their share of the seconds, but at least `least`.
        """
        tails = [c for c in self._contenders if c.name in TAILS and c.computes_as(self._engines[-1], self._main)]
        share = seconds / len(self._contenders)
        fit = {c: max(least or repeats, int(min(repeats, share / self._expected[c]))) for c in self._contenders}
        for turn in range(1, self.turns(repeats) + 1):
            self._turn(turn, [c for c in self._contenders if turn <= fit[c]] if turn <= repeats else tails)
            yield

    def rows(self) -> list[BenchRow]:
        """The measurements."""
        return [contender.row(self._contenders, self._encoding) for contender in self._contenders]

    def _turn(self, turn: int, contenders: "Sequence[Contender]", warm_up: bool = False) -> None:
        rows = (torch.arange(self._batch) + turn * self._batch) % len(self._conditions)
        shape = (self._policy.spec.horizons.predict, self._policy.spec.action_size)
        for contender in contenders:
            contender.plan(self._conditions[rows], 1000 * turn, shape, warm_up)

    def _contender(self, wanted: Wanted) -> "Contender":
        spec, device = self._policy.spec, self._conditions.device
        ddpm = SamplerChoice.parse("ddpm").build(spec.schedule).table
        if wanted.engine is None:
            usual = UsualLoop(spec.schedule, ddpm)
            return Contender(USUAL, USUAL, lambda: PlainNetwork(self._network), usual, self._policy, self._batch)
        build = partial(self._engine, wanted.engine, wanted.precision)
        if wanted.name == PUBLISHED:
            return Contender(wanted.name, wanted.name, build, PublishedParaDDPM(ddpm), self._policy, self._batch)
        choice = SamplerChoice.parse(wanted.name)
        if choice.measured:
            planned = Autotuner(build(), self._network, spec, device).choose(self._candidates(choice), self._batch)
            choice = SamplerChoice.parse(planned.sampler)
        return Contender(wanted.name, str(choice), build, choice.build(spec.schedule), self._policy, self._batch)

    def _engine(self, name: EngineName, precision: Precision) -> Engine:
        """Builds a new engine, or returns the shared one if it captures rounds."""
        if (name, precision) in self._captured:
            return self._captured[name, precision]
        engine = build_engine(self._network, self._policy.spec, self._policy.devices, name, precision)
        if engine.graphs is not None:
            self._captured[name, precision] = engine
        return engine

    def _why_not_bf16(self) -> str:
        """The reason for not measuring the last engine in bf16: much slower than fp32, as on some CPUs; empty if it is
        measured.

        Raises:
            ValueError: it cannot be built.
        """
        spec, device = self._policy.spec, self._conditions.device
        if device.type != "cpu":
            return ""
        fp32, bf16 = (
            time_call(self._engine(self._engines[-1], precision), spec, device, self._batch)
            for precision in ("fp32", "bf16")
        )
        return f"here it takes {bf16 / fp32:.1f} times as long as in fp32" if bf16 > SLOW_ARITHMETIC * fp32 else ""

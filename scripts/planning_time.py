"""How long a plan takes: samplers and engines in turns, beside what others run, and the floor that the hardware sets."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from paradp.policy import DiffusionPolicy, EngineName, Planner, Precision, build_engine
from paradp.policy.engines.autotune.candidates import Candidates, by_rule
from paradp.policy.engines.timing import time_call
from paradp.sampler import SamplerChoice
from paradp.scripts.baselines import PlainNetwork, PublishedParaDDPM, UsualLoop
from paradp.scripts.contenders import PUBLISHED, USUAL, BenchRow, Contender

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
        self._contenders: list[Contender] = []
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
        build = partial(build_engine, self._network, spec, device, wanted.engine, wanted.precision)
        if wanted.name == PUBLISHED:
            return Contender(wanted.name, wanted.name, build, PublishedParaDDPM(ddpm), self._policy, self._batch)
        choice = SamplerChoice.parse(wanted.name)
        if choice.measured:
            planned = Planner(build(), self._network, spec, device).choose(self._candidates(choice), self._batch)
            choice = SamplerChoice.parse(planned.sampler)
        return Contender(wanted.name, str(choice), build, choice.build(spec.schedule), self._policy, self._batch)

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

"""A timeline of a control loop: spans of time on a few lanes, their statistics, and a trace file."""

import json
from array import array
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import numpy as np

from paradp.policy.files import write_whole
from paradp.policy.plan_stats import PlanStats

LOOP, ROBOT, INFERENCE = "control loop", "robot", "inference"


@dataclass(frozen=True)
class Span:
    """An interval of time in which something ran.

    Attributes:
        name: what ran.
        lane: row of the trace; spans of one lane do not overlap.
        began, seconds: start by `time.perf_counter`, and duration.
        tick: the control step that it belongs to.
    """

    name: str
    lane: str
    began: float
    seconds: float
    tick: int


@dataclass(frozen=True)
class Distribution:
    """The distribution of durations in milliseconds. The jitter is their standard deviation."""

    count: int
    p50: float
    p95: float
    p99: float
    p99_9: float
    max: float
    jitter: float

    @classmethod
    def of(cls, seconds: Sequence[float]) -> "Distribution":
        """Raises:
        ValueError: there are none.
        """
        if not len(seconds):
            raise ValueError("a distribution of no times")
        milliseconds = 1000 * np.asarray(seconds)
        p50, p95, p99, p99_9 = np.percentile(milliseconds, (50, 95, 99, 99.9)).tolist()
        return cls(len(milliseconds), p50, p95, p99, p99_9, float(milliseconds.max()), float(milliseconds.std()))


# Largest number of spans in a trace, because a loop may run for days.
MOST_SPANS = 500_000


class Timeline:
    """Records spans: the durations of all, and the start times of the latest.

    They are stored as numbers, because many objects would slow down the garbage collector in the middle of control steps.
    """

    def __init__(self) -> None:
        self._kinds: dict[tuple[str, str], int] = {}
        # Kind, start, duration and control step of each span; when full, the oldest is overwritten.
        self._latest = array("d")
        self._noted = 0
        self._seconds: dict[str, array] = {}

    @contextmanager
    def span(self, name: str, lane: str, tick: int) -> Iterator[None]:
        """Records the duration of the code in a `with` block."""
        began = perf_counter()
        try:
            yield
        finally:
            self.add(name, lane, tick, began, perf_counter() - began)

    def add(self, name: str, lane: str, tick: int, began: float, seconds: float) -> None:
        kind = self._kinds.setdefault((name, lane), len(self._kinds))
        at = 4 * (self._noted % MOST_SPANS)
        self._latest[at : at + 4] = array("d", (kind, began, seconds, tick))
        self._noted += 1
        self._seconds.setdefault(name, array("d")).append(seconds)

    @property
    def spans(self) -> list[Span]:
        """The latest spans, oldest first."""
        rows = np.array(self._latest).reshape(-1, 4)
        if self._noted > MOST_SPANS:
            rows = np.roll(rows, -(self._noted % MOST_SPANS), 0)
        kinds = list(self._kinds)
        return [Span(*kinds[int(kind)], began, seconds, int(tick)) for kind, began, seconds, tick in rows.tolist()]

    def add_plan(self, tick: int, stats: PlanStats, ended: float) -> None:
        """Records the stages of a plan."""
        began = ended - stats.timing.seconds
        for stage, length in stats.timing.stages.items():
            self.add(stage, INFERENCE, tick, began, length)
            began += length

    def distributions(self, latest: int | None = None) -> dict[str, Distribution]:
        """The distribution of each kind of span, in the order of their first occurrence.

        Args:
            latest: of the latest spans of each kind; of all by default, which takes longer with every hour of a loop.
        """
        return {name: Distribution.of(seconds[-latest:] if latest else seconds) for name, seconds in self._seconds.items()}

    def write_trace(self, path: Path) -> None:
        """Writes a file for Perfetto (ui.perfetto.dev) or chrome://tracing (Trace Event Format)."""
        spans = self.spans
        lanes = {lane: i for i, lane in enumerate(dict.fromkeys(span.lane for span in spans))}
        start = min((span.began for span in spans), default=0.0)
        names = [
            {"ph": "M", "name": "thread_name", "pid": 1, "tid": tid, "args": {"name": lane}} for lane, tid in lanes.items()
        ]
        events = [
            {
                "ph": "X",
                "name": span.name,
                "pid": 1,
                "tid": lanes[span.lane],
                "ts": round(1e6 * (span.began - start), 1),
                "dur": round(1e6 * span.seconds, 1),
                "args": {"control step": span.tick},
            }
            for span in spans
        ]
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, json.dumps({"traceEvents": names + events, "displayTimeUnit": "ms"}).encode())

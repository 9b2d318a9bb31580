"""What happened when in a control loop: spans of time on a few lanes, their statistics, and a trace to look at."""

import json
from array import array
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter

import numpy as np

from paradp.policy import Replan
from paradp.rollouts.directory import write_whole

LOOP, ROBOT, INFERENCE = "control loop", "robot", "inference"


@dataclass(frozen=True)
class Span:
    """Something that took time.

    Attributes:
        name: what.
        lane: where: spans of one lane follow each other.
        began, seconds: when, as `time.perf_counter` says, and how long.
        tick: the control step that it belongs to.
    """

    name: str
    lane: str
    began: float
    seconds: float
    tick: int


@dataclass(frozen=True)
class Distribution:
    """Of times, milliseconds. The jitter is their standard deviation."""

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


# Of a trace; a loop may run for days.
MOST_SPANS = 500_000


@dataclass
class Timeline:
    """Spans as they are noted: the times of all, and when the latest of them were."""

    spans: deque[Span] = field(default_factory=lambda: deque(maxlen=MOST_SPANS))
    _seconds: dict[str, array] = field(default_factory=dict)

    @contextmanager
    def span(self, name: str, lane: str, tick: int) -> Iterator[None]:
        """Notes how long what is inside takes."""
        began = perf_counter()
        try:
            yield
        finally:
            self.add(name, lane, tick, began, perf_counter() - began)

    def add(self, name: str, lane: str, tick: int, began: float, seconds: float) -> None:
        self.spans.append(Span(name, lane, began, seconds, tick))
        self._seconds.setdefault(name, array("d")).append(seconds)

    def add_plan(self, tick: int, replan: Replan, ended: float) -> None:
        """Notes the stages of a plan."""
        began = ended - replan.seconds
        for stage in ("encode", "denoise", "decode"):
            length = getattr(replan, stage)
            self.add(stage, INFERENCE, tick, began, length)
            began += length

    def distributions(self) -> dict[str, Distribution]:
        """Of every kind of span, in the order that they were first seen."""
        return {name: Distribution.of(seconds) for name, seconds in self._seconds.items()}

    def write_trace(self, path: Path) -> None:
        """Writes a file for Perfetto (ui.perfetto.dev) or chrome://tracing (Trace Event Format)."""
        lanes = {lane: i for i, lane in enumerate(dict.fromkeys(span.lane for span in self.spans))}
        start = min((span.began for span in self.spans), default=0.0)
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
            for span in self.spans
        ]
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, json.dumps({"traceEvents": names + events, "displayTimeUnit": "ms"}).encode())

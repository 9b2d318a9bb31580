"""What happened when in a control loop: spans of time on a few lanes, their statistics, and a trace to look at."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter

import numpy as np

from paradp.rollouts.directory import write_whole

PERCENTILES = (50, 95, 99, 99.9)


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
        return cls(
            len(milliseconds),
            *np.percentile(milliseconds, PERCENTILES).tolist(),
            float(milliseconds.max()),
            float(milliseconds.std()),
        )


@dataclass
class Timeline:
    """Spans as they are noted."""

    spans: list[Span] = field(default_factory=list)

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

    def distributions(self) -> dict[str, Distribution]:
        """Of every kind of span, in the order that they were first seen."""
        times: dict[str, list[float]] = {}
        for span in self.spans:
            times.setdefault(span.name, []).append(span.seconds)
        return {name: Distribution.of(seconds) for name, seconds in times.items()}

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

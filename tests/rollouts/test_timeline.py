"""Times of a control loop: their statistics, and the trace."""

import gc
import json

import numpy as np
import pytest

from paradp.rollouts.realtime import timeline as timeline_module
from paradp.rollouts.realtime.timeline import Distribution, Timeline
from paradp.scripts.live import LATEST, timing_table


def test_percentiles_equal_numpys():
    seconds = np.random.default_rng(0).exponential(0.01, 5000)
    d = Distribution.of(list(seconds))
    expected = np.percentile(1000 * seconds, [50, 95, 99, 99.9])
    assert (d.p50, d.p95, d.p99, d.p99_9) == pytest.approx(tuple(expected))
    assert (d.count, d.max, d.jitter) == (5000, pytest.approx(1000 * seconds.max()), pytest.approx(1000 * seconds.std()))
    with pytest.raises(ValueError, match="no times"):
        Distribution.of([])


def test_a_trace_has_every_span_on_its_lane(tmp_path):
    timeline = Timeline()
    timeline.add("observe", "loop", 3, 10.0, 0.001)
    timeline.add("denoise", "inference", 3, 9.95, 0.04)
    with timeline.span("act", "loop", 4):
        pass
    timeline.write_trace(tmp_path / "deep" / "trace.json")
    events = json.loads((tmp_path / "deep" / "trace.json").read_text())["traceEvents"]
    lanes = {e["args"]["name"]: e["tid"] for e in events if e["ph"] == "M"}
    spans = {e["name"]: e for e in events if e["ph"] == "X"}
    assert lanes == {"loop": 0, "inference": 1} and spans.keys() == {"observe", "denoise", "act"}
    assert spans["denoise"]["ts"] == 0 and spans["denoise"]["dur"] == pytest.approx(40_000)
    assert spans["observe"]["ts"] == pytest.approx(50_000) and spans["observe"]["args"] == {"control step": 3}
    assert all(e["tid"] == lanes["inference" if e["name"] == "denoise" else "loop"] for e in spans.values())
    assert list(timeline.distributions()) == ["observe", "denoise", "act"]


def test_the_latest_spans_and_all_times_are_kept(monkeypatch):
    monkeypatch.setattr(timeline_module, "MOST_SPANS", 5)
    timeline = Timeline()
    for tick in range(12):
        timeline.add("act" if tick % 2 else "send", "loop", tick, float(tick), 0.5)
    assert [(span.tick, span.name, span.began) for span in timeline.spans] == [
        (tick, "act" if tick % 2 else "send", float(tick)) for tick in range(7, 12)
    ]
    assert {name: d.count for name, d in timeline.distributions().items()} == {"send": 6, "act": 6}


def test_a_live_table_takes_as_long_after_a_day_as_at_the_start(monkeypatch):
    timeline, counted = Timeline(), []
    for tick in range(10_000):
        timeline.add("act", "loop", tick, float(tick), 0.001 if tick < 8000 else 0.002)
    of = timeline_module.Distribution.of
    monkeypatch.setattr(timeline_module.Distribution, "of", lambda seconds: counted.append(len(seconds)) or of(seconds))
    table = timing_table(timeline, LATEST)
    assert counted == [LATEST] and [*table.columns[1].cells] == ["2.0"] and [*table.columns[-1].cells] == [str(LATEST)]
    assert table.columns[-1].header == f"of the latest {LATEST}"
    assert timeline.distributions()["act"].count == 10_000


def test_a_long_loop_makes_no_objects_for_the_garbage_collector():
    timeline = Timeline()
    timeline.add("act", "loop", 0, 0.0, 0.1)
    gc.collect()
    before = len(gc.get_objects())
    for tick in range(10_000):
        timeline.add("act", "loop", tick, float(tick), 0.1)
    assert len(gc.get_objects()) - before < 100


def test_failed_spans_are_timed_too():
    timeline = Timeline()
    with pytest.raises(KeyError), timeline.span("act", "loop", 0):
        raise KeyError
    assert [span.name for span in timeline.spans] == ["act"]

"""The lateness of plans, and the texts that name a clock."""

import numpy as np
import pandas as pd
import pytest

from paradp.rollouts.episodes.clocks import ClockChoice


@pytest.mark.parametrize(
    ("text", "lateness"),
    [("fixed:740", 14), ("fixed:200", 4), ("fixed:50", 1), ("fixed:20", 0), ("fixed:150", 3), ("fixed:0", 0)],
)
def test_a_latency_is_counted_in_whole_control_steps(text, lateness):
    clock = ClockChoice.parse(text).start(20)
    clock.reset(3)
    assert [clock.lateness(123.0) for _ in range(3)] == [lateness] * 3
    assert str(ClockChoice.parse(text)) == text


def test_an_ideal_clock_has_no_lateness_and_a_measured_one_uses_the_plans_time():
    assert ClockChoice.parse("ideal").start(20) is None
    assert ClockChoice.parse("measured").start(20).lateness(0.21) == 4


def test_a_replay_returns_the_recorded_latencies_in_order_from_a_start_given_by_the_seed(tmp_path):
    path = tmp_path / "ms.txt"
    path.write_text("0\n50\n100\n150\n")
    clock = ClockChoice.parse(f"replay:{path}").start(20)
    starts = set()
    for seed in range(20):
        clock.reset(seed)
        drawn = [clock.lateness(0.0) for _ in range(8)]
        assert drawn == [(drawn[0] + i) % 4 for i in range(8)]
        clock.reset(seed)
        assert clock.lateness(0.0) == drawn[0]
        starts.add(drawn[0])
    assert starts == {0, 1, 2, 3}


def test_a_runs_table_can_be_replayed(tmp_path):
    path = tmp_path / "steps.parquet"
    pd.DataFrame({"replan_seconds": [0.1, np.nan, 0.1]}).to_parquet(path)
    clock = ClockChoice.parse(f"replay:{path}")
    assert clock.start(20).lateness(0.0) == 2
    # It is its content that a run depends on, read once.
    same = tmp_path / "moved.parquet"
    path.rename(same)
    assert ClockChoice.parse(f"replay:{same}").identity == clock.identity and clock.start(20).lateness(0.0) == 2
    pd.DataFrame({"replan_seconds": [0.2]}).to_parquet(same)
    assert ClockChoice.parse(f"replay:{same}").identity != clock.identity


def test_a_table_of_several_cells_is_refused(tmp_path):
    path = tmp_path / "steps.parquet"
    pd.DataFrame({"replan_seconds": [0.1], "cell": ["ddpm"]}).to_parquet(path)
    with pytest.raises(ValueError, match="it contains several cells"):
        ClockChoice.parse(f"replay:{path}")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("slow", "unknown clock 'slow'. There are: ideal, measured, fixed:MS, replay:FILE"),
        ("fixed", "should read"),
        ("ideal:3", "should read"),
        ("fixed:fast", "a number of milliseconds, not 'fast'"),
        ("fixed:-1", "a number of milliseconds"),
        ("fixed:inf", "a number of milliseconds"),
        ("replay:/nowhere", "no file of latencies /nowhere"),
    ],
)
def test_bad_clocks_are_named(text, message):
    with pytest.raises(ValueError, match=message):
        ClockChoice.parse(text)


@pytest.mark.parametrize(("name", "content"), [("a.txt", "1 2 x"), ("b.txt", ""), ("c.parquet", "not parquet")])
def test_a_file_without_latencies_is_named(tmp_path, name, content):
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(ValueError, match="holds no latencies"):
        ClockChoice.parse(f"replay:{path}")

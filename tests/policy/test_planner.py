"""The planner on engines whose cost is known: its clock is moved by their calls alone."""

import json
from types import SimpleNamespace

import pytest
import torch

from paradp.policy import Planner, planner, timing
from paradp.policy.torch_engines import EagerEngine
from paradp.sampler import SamplerChoice
from paradp.sampler.names import AUTO_FAST_ERROR

CPU = torch.device("cpu")


class Clocked(EagerEngine):
    """Takes so many seconds for a number of rows, on a clock of its own."""

    def __init__(self, trained, seconds):
        super().__init__(trained.network, trained.spec, CPU)
        self.now = 0.0
        self.calls = 0
        self._seconds = seconds

    def __call__(self, x, t, condition):
        self.now += self._seconds(len(x))
        self.calls += 1
        return super().__call__(x, t, condition)


@pytest.fixture
def plan(trained, monkeypatch, tmp_path):
    """Makes a planner for an engine that takes so long: `plan(seconds)`."""
    monkeypatch.setenv("PARADP_CACHE", str(tmp_path))
    exact, linear = planner.EXACT[1::4], planner.LINEAR[::4]
    monkeypatch.setattr(planner, "CANDIDATES", {"auto": exact, "auto-fast": exact + linear})
    fewer = (
        (planner, "TRIALS", 6),
        (planner, "MOST_ROWS", 64),
        (timing, "TIMED_CALLS", 1),
        (planner, "TURNS", 1),
        (planner, "PLANS", 1),
    )
    for module, name, number in fewer:
        monkeypatch.setattr(module, name, number)

    def make(seconds) -> tuple[Planner, Clocked]:
        planner._PROFILES.clear()  # as in another process
        engine = Clocked(trained, seconds)
        monkeypatch.setattr(timing, "time", SimpleNamespace(perf_counter=lambda: engine.now))
        return Planner(engine, trained.network, trained.spec, CPU), engine

    return make


def test_where_rows_cost_nothing_the_widest_window_wins(plan):
    planned = plan(lambda rows: 1.0)[0].choose("auto", 1)
    rounds = planned.seconds[planned.sampler]
    assert planned.sampler.startswith("speculative-ddpm:window=") and rounds < 15 and planned.seconds["ddpm"] == 100
    assert "one step after another" in planned.describe()


@pytest.mark.parametrize("mode", ["auto", "auto-fast"])
@pytest.mark.parametrize("batch", [1, 4])
def test_where_every_row_costs_the_same_nothing_beats_one_step_after_another(plan, mode, batch):
    planned = plan(lambda rows: float(rows))[0].choose(mode, batch)
    assert planned.sampler == "ddpm" and planned.seconds["ddpm"] == 100 * batch
    assert planned.describe().startswith(f"ddpm: {100_000 * batch:.1f} ms a plan of {batch}; in parallel ")


def test_in_between_the_window_is_small(plan):
    chosen = SamplerChoice.parse(plan(lambda rows: 2.0 + rows)[0].choose("auto", 1).sampler)
    assert chosen.family == "speculative-ddpm" and dict(chosen.options)["window"] <= 8


def test_a_larger_batch_leaves_less_to_gain(plan):
    maker, _ = plan(lambda rows: 6.0 + rows)
    alone, together = maker.choose("auto", 1), maker.choose("auto", 16)
    gain = [p.seconds["ddpm"] / p.seconds[p.sampler] for p in (alone, together)]
    assert gain[0] > 2 > gain[1] >= 1


def test_predictions_are_the_times_that_follow(plan):
    maker, _ = plan(lambda rows: 3.0 + rows)
    planned = maker.choose("auto", 4)
    for sampler, seconds in planned.seconds.items():
        assert maker._profile.plan(sampler, 4) == pytest.approx(seconds, rel=0.25)


def test_of_samplers_with_equal_means_the_steadier_has_the_faster_slow_plan():
    steady, unsteady, _ = planner.EXACT[:3]
    trials = {steady: planner.Trial([20] * 16, 4.0), unsteady: planner.Trial([19] * 15 + [35], 4.0)}
    profile = planner.Profile({1: 1.0, 64: 1.0}, trials)
    assert profile.plan(steady, 1) == profile.plan(unsteady, 1) == profile.slow_plan(steady, 1) == 20
    assert profile.slow_plan(unsteady, 1) == 35
    # Of sixteen environments one is likely to be slow, and all wait for it.
    assert 20 < profile.plan(unsteady, 1) + 4 < profile.plan(unsteady, 16) < 35


def test_auto_fast_keeps_its_tolerance(plan):
    maker, _ = plan(lambda rows: 5.0 + rows)
    planned = maker.choose("auto-fast", 1)
    assert maker._profile.trials[planned.sampler].error <= AUTO_FAST_ERROR
    loose = [trial.error for name, trial in maker._profile.trials.items() if name.startswith("para-ddpm")]
    assert all(error > 0 for error in loose)
    for trial in maker._profile.trials.values():
        trial.error = 1.0
    maker._profile.planned.clear()
    maker._profile.trials["ddpm"].error = 0.0
    assert maker._race("auto-fast", 1).sampler == "ddpm"


def test_what_was_measured_is_kept_and_what_is_damaged_is_measured_again(plan, tmp_path):
    first, _ = plan(lambda rows: 2.0 + rows)
    planned = first.choose("auto", 2)
    second, engine = plan(lambda rows: 1.0)
    assert second.choose("auto", 2) == planned and engine.calls == 0
    assert second.choose("auto", 1) and engine.calls > 0  # another batch: the rounds are known, the race is new
    (path,) = tmp_path.glob("*.json")
    whole = path.read_text()
    kept = json.loads(whole)
    chosen = kept["planned"]["auto, batch 2"]
    damages = (
        "",
        whole[:200],
        "[]",
        json.dumps(kept | {"trials": {"ddpm": {"round": 3}}}),
        json.dumps(kept | {"trials": kept["trials"] | {"ddpm": {"rounds": [], "width": 1.0, "error": 0.0}}}),
        json.dumps(kept | {"trials": kept["trials"] | {"ddpm": {"rounds": [10**12], "width": 1.0, "error": 0.0}}}),
        json.dumps(kept | {"seconds": {"1": -1.0}}),
        "[" * 100_000,
        json.dumps(kept | {"planned": {"auto, batch 2": chosen | {"sampler": "nonsense"}}}),
        json.dumps(kept | {"planned": {"auto, batch 2": chosen | {"seconds": {}}}}),
    )
    for damage in damages:
        path.write_text(damage)
        third, engine = plan(lambda rows: 1.0)
        assert third.choose("auto", 2).seconds["ddpm"] == 100 and engine.calls > 0


def test_a_cache_that_cannot_be_written_does_no_harm(plan, trained, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("PARADP_CACHE", str(tmp_path / "file"))
    maker, engine = plan(lambda rows: 1.0)
    planned, calls = maker.choose("auto", 1), engine.calls
    assert planned.sampler != "ddpm"
    # In one process a choice stays what it is.
    assert Planner(engine, trained.network, trained.spec, CPU).choose("auto", 1) == planned and engine.calls == calls


def test_measuring_says_so_and_how_far_it_is(plan, monkeypatch, caplog, tmp_path):
    monkeypatch.setattr(planner, "LOG_SECONDS", -1.0)
    maker, _ = plan(lambda rows: 2.0 + rows)
    with caplog.at_level("INFO", "paradp.policy.planner"):
        maker.choose("auto", 1)
    (warning,) = (record.getMessage() for record in caplog.records if record.levelname == "WARNING")
    assert "measuring which sampler is fastest here" in warning and str(tmp_path) in warning
    shares = [int(record.getMessage().split(": ")[1].split()[0]) for record in caplog.records if record.levelname == "INFO"]
    assert len(shares) > 5 and shares == sorted(shares) and shares[0] < 20 and 60 < shares[-1] < 100
    caplog.clear()
    maker.choose("auto", 1)
    assert not caplog.records


def test_windows_that_cannot_win_are_not_counted(plan, monkeypatch, tmp_path):
    few = planner.EXACT[::3]  # windows of 2, 5, 10, 20 and 100
    monkeypatch.setattr(planner, "CANDIDATES", {"auto": few})
    maker, _ = plan(lambda rows: float(rows) ** 1.5)
    maker.choose("auto", 1)
    assert [name for name in few if name in maker._profile.trials] == list(few[:3])
    monkeypatch.setenv("PARADP_CACHE", str(tmp_path / "another"))
    free, _ = plan(lambda rows: 1.0)
    free.choose("auto", 1)
    assert all(name in free._profile.trials for name in few)

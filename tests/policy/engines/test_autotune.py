"""The autotuner on engines with known costs: only their calls advance its clock."""

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from paradp.policy import Autotuner, Planned
from paradp.policy.engines import timing
from paradp.policy.engines.autotune import autotuner, candidates, profile, progress
from paradp.policy.engines.autotune.candidates import EXACT, Candidates, speculative, within
from paradp.policy.engines.pytorch import EagerEngine
from paradp.policy.fidelity import Bounds, Fidelity, Interval, StepsFidelity
from paradp.sampler import SamplerChoice

CPU = torch.device("cpu")
STEPS = 30


class Clocked(EagerEngine):
    """An engine with given times per number of rows, on a simulated clock."""

    def __init__(self, trained, seconds):
        super().__init__(trained.network, trained.spec, CPU)
        self.now = 0.0
        self.calls = self.rows = 0
        self.prepared = []
        self._seconds = seconds

    def prepare(self, rows):
        self.prepared.append(max(rows))

    def __call__(self, x, t, condition):
        self.now += self._seconds(len(x))
        self.calls += 1
        self.rows += len(x)
        return super().__call__(x, t, condition)


@pytest.fixture
def short(trained):
    """A policy with few steps, so that the tests take less time."""
    schedule = trained.spec.schedule | {"num_train_timesteps": STEPS}
    return replace(trained, spec=replace(trained.spec, schedule=schedule))


@pytest.fixture
def plan(short, monkeypatch, tmp_path):
    """Makes an autotuner for an engine with these times: `plan(seconds)`."""
    monkeypatch.setenv("PARADP_CACHE", str(tmp_path))
    monkeypatch.setattr(candidates, "WINDOWS", (3, 8, 20))
    fewer = (
        (autotuner, "TRIALS", 4),
        (autotuner, "MOST_ROWS", 64),
        (timing, "WARM_UP_CALLS", 1),
        (timing, "TIMED_CALLS", 1),
        (autotuner, "TURNS", 1),
        (autotuner, "PLANS", 1),
    )
    for module, name, number in fewer:
        monkeypatch.setattr(module, name, number)

    def make(seconds) -> tuple[Autotuner, Clocked]:
        autotuner._PROFILES.clear()  # as in another process
        engine = Clocked(short, seconds)
        monkeypatch.setattr(timing, "time", SimpleNamespace(perf_counter=lambda: engine.now))
        return Autotuner(engine, short.network, short.spec, CPU), engine

    return make


def test_if_rows_cost_nothing_the_widest_window_wins(plan):
    planned = plan(lambda rows: 1.0)[0].choose()
    assert planned.sampler in (speculative("ddpm")[20], speculative("ddpm")[100])
    assert planned.seconds[planned.sampler] < 12 and planned.seconds["ddpm"] == STEPS
    assert planned.describe().endswith(f"DDPM one step after another {1000 * STEPS}.0 ms")


@pytest.mark.parametrize("batch", [1, 4])
def test_if_every_row_costs_the_same_sequential_steps_win(plan, batch):
    planned = plan(lambda rows: float(rows))[0].choose(batch=batch)
    assert planned.sampler == "ddpm" and planned.seconds["ddpm"] == STEPS * batch
    assert planned.describe().startswith(f"ddpm: {1000 * STEPS * batch:.1f} ms a plan of {batch}; in parallel ")


def test_between_these_extremes_the_window_is_small(plan):
    chosen = SamplerChoice.parse(plan(lambda rows: 2.0 + rows)[0].choose().sampler)
    assert chosen.family == "speculative-ddpm" and dict(chosen.options)["window"] <= 8


def test_a_larger_batch_leaves_less_to_gain(plan):
    maker, _ = plan(lambda rows: 12.0 + rows)
    alone, together = maker.choose(batch=1), maker.choose(batch=16)
    gain = [p.seconds["ddpm"] / p.seconds[p.sampler] for p in (alone, together)]
    assert gain[0] > 2 > gain[1] >= 1


def test_predicted_times_equal_the_later_times(plan):
    maker, _ = plan(lambda rows: 3.0 + rows)
    planned = maker.choose(batch=4)
    for sampler, seconds in planned.seconds.items():
        assert maker._profile.plan(sampler, 4) == pytest.approx(seconds, rel=0.25)


def test_of_samplers_with_equal_means_the_steadier_one_has_faster_slow_plans():
    steady, unsteady = list(speculative("ddpm").values())[:2]
    trials = {steady: profile.Trial([20] * 16, 4.0), unsteady: profile.Trial([19] * 15 + [35], 4.0)}
    measured = profile.Profile({1: 1.0, 64: 1.0}, trials)
    assert measured.plan(steady, 1) == measured.plan(unsteady, 1) == measured.slow_plan(steady, 1) == 20
    assert measured.slow_plan(unsteady, 1) == 35
    # Of sixteen environments one is likely to be slow, and all wait for it.
    assert 20 < measured.plan(unsteady, 1) + 4 < measured.plan(unsteady, 16) < 35


@pytest.mark.parametrize("seconds", [lambda rows: 1.0, lambda rows: 2.0 + rows, lambda rows: float(rows) ** 1.5])
def test_the_best_window_is_found_without_timing_all(plan, monkeypatch, seconds):
    """The search by neighbours ends at the best window of all."""
    monkeypatch.setattr(candidates, "WINDOWS", (2, 4, 8, 20))
    maker, _ = plan(seconds)
    maker.choose()
    counted = [name for name in speculative("ddpm").values() if name in maker._profile.trials]
    assert 2 <= len(counted) <= 4
    best = min(counted, key=lambda name: maker._profile.slow_plan(name, 1))
    for name in speculative("ddpm").values():
        maker._profile.trials[name] = maker._try(name)
    everywhere = {name: maker._profile.slow_plan(name, 1) for name in speculative("ddpm").values()}
    assert everywhere[best] <= 1.05 * min(everywhere.values())


def test_calls_are_timed_until_their_times_are_in_proportion(plan):
    proportional, _ = plan(lambda rows: 1.0 + rows)
    proportional.choose()
    assert max(proportional._profile.seconds) <= 64
    free, _ = plan(lambda rows: 1.0)
    free._profile.seconds.clear()
    free.choose(Candidates(("ddpm-5", "ddpm"), {}))
    assert max(free._profile.seconds) == autotuner.MOST_ROWS


def interval(value):
    return Interval(value, value, value)


def fidelity(**steps) -> Fidelity:
    """Measurements of few-step samplers (`_` for `-`): energy, coverage, spread; of equal plans 0.97 are covered."""
    measured = {
        name.replace("_", "-"): StepsFidelity(interval(energy), 0.5, interval(coverage), interval(spread))
        for name, (energy, coverage, spread) in steps.items()
    }
    return Fidelity("0" * 64, "paradp fidelity x", "the expert", 8, 8, 0, 0.97, "eager fp32", {}, measured)


def test_of_every_kind_the_fewest_steps_within_bounds_are_chosen():
    measured = fidelity(
        ddpm_50=(0.001, 0.97, 1.0),
        ddpm_25=(0.010, 0.96, 0.95),
        ddpm_20=(0.011, 0.99, 1.0),
        ddim_15=(0.001, 0.959, 1.0),
        ddim_25=(-0.001, 0.98, 1.05),
        dpm_solver_10=(0.0, 0.98, 0.949),
    )
    found = within(measured, Bounds(), given=False)
    assert found.steps == ("ddpm-25", "ddim-25", "ddpm")
    figures, bounds = "energy 0.0100, coverage 0.960, spread 0.950", "energy ≤ 0.01, coverage ≥ expected − 0.01 = 0.960"
    said = f"{figures}, within {bounds}, spread 0.95 to 1.05"
    assert found.reason(speculative("ddpm-25")[8]) == found.reason("ddpm-25") == said
    assert found.reason("speculative-ddpm:window=8") == ""
    loose = within(measured, Bounds(energy=0.02, spread=0.06), given=True)
    assert loose.steps == ("ddpm-20", "ddim-25", "dpm-solver-10", "ddpm")


def test_bounds_that_no_sampler_meets_are_an_error():
    measured = fidelity(ddpm_50=(0.001, 0.97, 1.0), ddpm_25=(0.010, 0.96, 0.95))
    with pytest.raises(ValueError, match=r"no fewer steps than DDPM's own are within energy ≤ 1e-05.*nearest are ddpm-50"):
        within(measured, Bounds(energy=1e-5), given=True)
    assert within(measured, Bounds(energy=1e-5), given=False).steps == ("ddpm",)
    for wrong in (-0.1, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="the bound on spread must be a number that is at least 0"):
            Bounds(spread=wrong)


def test_steps_with_noise_are_taken_speculatively_and_the_others_one_after_another():
    assert speculative("ddim-10") == speculative("dpm-solver-10") == speculative("ddim-10:eta=1") == {}
    for steps in ("ddpm-25", "sde-dpm-solver-12", "ddpm-4:timesteps=99-60-30-5", "ddpm"):
        found = speculative(steps)
        assert found and all(str(SamplerChoice.parse(name).sequential) == steps for name in found.values())
        assert max(found) <= (SamplerChoice.parse(steps).steps or 100)


def test_fewer_steps_win_if_they_are_allowed(plan):
    few = Candidates(("ddpm-8", "ddpm"), {"ddpm-8": "by the general rule, as a test"})
    planned = plan(lambda rows: 2.0 + rows)[0].choose(few)
    assert str(SamplerChoice.parse(planned.sampler).sequential) == few.steps[0]
    assert planned.describe().endswith("; by the general rule, as a test")
    only = plan(lambda rows: 2.0 + rows)[0].choose(EXACT)
    assert "rule" not in only.describe() and planned.seconds[planned.sampler] < only.seconds[only.sampler]


def test_steps_that_cannot_win_are_not_counted(plan):
    maker, _ = plan(lambda rows: float(rows))
    maker.choose(Candidates(("ddim-5", "ddpm"), {}))
    assert set(maker._profile.trials) == {"ddim-5"}
    # Where rows cost nothing a wide window may be as fast.
    free, _ = plan(lambda rows: 1.0)
    free._profile.trials.clear()
    free._profile.seconds.clear()
    free._profile.planned.clear()
    free.choose(Candidates(("ddim-5", "ddpm"), {}))
    assert "ddpm" in free._profile.trials


def test_whatever_changes_an_engines_speed_is_measured_again(plan, short, monkeypatch, tmp_path):
    def file_for(engine):
        return Autotuner(engine, short.network, short.spec, CPU)._path

    _, engine = plan(lambda rows: 1.0)
    files = [file_for(engine)]
    monkeypatch.setattr(autotuner, "lacking", lambda device: "a C compiler")
    files.append(file_for(engine))
    for version in ("1", "2"):  # of another package's engine
        source = tmp_path / "theirs.py"
        source.write_text(f"# {version}")
        monkeypatch.setattr(autotuner.inspect, "getfile", lambda kind, source=source: str(source))
        files.append(file_for(engine))
    assert len({*files}) == 4


def test_measurements_are_cached_and_damaged_ones_are_repeated(plan, tmp_path):
    first, _ = plan(lambda rows: 2.0 + rows)
    planned = first.choose(batch=2)
    second, engine = plan(lambda rows: 1.0)
    assert second.choose(batch=2) == planned and engine.calls == 0
    assert second.choose(batch=1) and engine.calls > 0  # another batch: the rounds are known, the race is new
    (path,) = tmp_path.glob("*.json")
    whole = path.read_text()
    kept = json.loads(whole)
    chosen = kept["planned"]["ddpm, batch 2"]
    damages = (
        "",
        whole[:200],
        "[]",
        json.dumps(kept | {"trials": {"ddpm": {"round": 3}}}),
        json.dumps(kept | {"trials": kept["trials"] | {"ddpm": {"rounds": [], "width": 1.0}}}),
        json.dumps(kept | {"trials": kept["trials"] | {"ddpm": {"rounds": [10**12], "width": 1.0}}}),
        json.dumps(kept | {"trials": {"nonsense": {"rounds": [10], "width": 1.0}}}),
        json.dumps(kept | {"seconds": {"1": -1.0}}),
        "[" * 100_000,
        json.dumps(kept | {"planned": {"ddpm, batch 2": chosen | {"sampler": "nonsense"}}}),
        json.dumps(
            kept | {"planned": {"ddpm, batch 2": chosen | {"sampler": "auto", "seconds": {"auto": 1.0, "ddpm": 2.0}}}}
        ),
        json.dumps(kept | {"planned": {"ddpm, batch 2": chosen | {"seconds": {}}}}),
    )
    for damage in damages:
        path.write_text(damage)
        third, engine = plan(lambda rows: 1.0)
        assert third.choose(batch=2).seconds["ddpm"] == STEPS and engine.calls > 0


def test_a_cache_that_cannot_be_written_is_ignored(plan, short, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("PARADP_CACHE", str(tmp_path / "file"))
    maker, engine = plan(lambda rows: 1.0)
    planned, calls = maker.choose(), engine.calls
    assert planned.sampler != "ddpm"
    # In one process a choice stays what it is.
    assert Autotuner(engine, short.network, short.spec, CPU).choose() == planned and engine.calls == calls


def test_measuring_reports_its_progress(plan, monkeypatch, caplog, tmp_path):
    monkeypatch.setattr(progress, "LOG_SECONDS", -1.0)
    maker, _ = plan(lambda rows: 2.0 + rows)
    with caplog.at_level("INFO", "paradp.policy.engines.autotune"):
        maker.choose(Candidates(("ddpm-8", "ddpm"), {"ddpm-8": "by the general rule, as a test"}))
    (warning,) = (record.getMessage() for record in caplog.records if record.levelname == "WARNING")
    assert "measuring which sampler is fastest here" in warning and str(tmp_path) in warning
    lines = [record for record in caplog.records if record.levelname == "INFO"]
    shares = [line.share for line in lines]
    assert [int(line.getMessage().split(": ")[1].split()[0]) for line in lines] == [round(100 * s) for s in shares]
    assert len(shares) > 5 and shares == sorted(shares) and shares[0] < 0.2 and 0.6 < shares[-1] < 1
    caplog.clear()
    maker.choose(Candidates(("ddpm-8", "ddpm"), {"ddpm-8": "by the general rule, as a test"}))
    assert not caplog.records


def test_few_sizes_are_compiled_and_computed(plan):
    """Each prepared batch size is compiled, which took most of the time with an empty cache."""
    maker, engine = plan(lambda rows: 1.0 + rows)
    maker.choose()
    # Calls of 1, 2, 4 … 32 rows, and three contenders once a turn.
    assert len(engine.prepared) <= 10
    assert isinstance(maker.choose(), Planned)

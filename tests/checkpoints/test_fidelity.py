"""`auto-fast` uses the measurements of exactly the loaded weights, and reports if there are none."""

from dataclasses import replace

import pytest

from paradp.checkpoints import checkpoint_digest, load_policy, save_checkpoint
from paradp.checkpoints.fidelity import cached_file, candidates_for
from paradp.policy.engines.autotune import autotuner, candidates
from paradp.policy.engines.autotune.candidates import EXACT, GENERAL_RULE
from paradp.policy.fidelity import Fidelity, Interval, StepsFidelity
from paradp.sampler import SamplerChoice

NEAR = StepsFidelity(Interval(0.002, -0.001, 0.005), 0.2, Interval(0.97, 0.96, 0.98), Interval(1.0, 0.95, 1.05))


@pytest.fixture
def checkpoint(trained, tmp_path, monkeypatch):
    monkeypatch.setenv("PARADP_CACHE", str(tmp_path / "cache"))
    save_checkpoint(trained, tmp_path / "checkpoint", "card")
    return tmp_path / "checkpoint"


@pytest.fixture
def measured(checkpoint) -> Fidelity:
    steps = {"ddpm-8": NEAR, "ddim-5": NEAR}
    digest = checkpoint_digest(checkpoint)
    return Fidelity(digest, "paradp fidelity x", "demonstrations", 8, 8, 0, 0.97, "eager fp32", {}, steps)


def chosen_among(checkpoint, sampler, spec):
    return candidates_for(SamplerChoice.parse(sampler), checkpoint, checkpoint_digest(checkpoint), spec.schedule)


def test_measurements_are_found_beside_the_checkpoint_or_in_the_cache(checkpoint, measured, spec, caplog):
    places = (checkpoint / "fidelity.json", cached_file(measured.checkpoint_sha256))
    for place in places:
        place.parent.mkdir(exist_ok=True)
        measured.write(place)
        assert chosen_among(checkpoint, "auto-fast", spec).steps == ("ddpm-8", "ddim-5", "ddpm")
        place.unlink()
    assert chosen_among(checkpoint, "auto", spec) == EXACT and not caplog.records


@pytest.mark.parametrize("beside", ["sound", "of other weights"])
def test_the_measurement_of_a_folder_that_cannot_be_written_is_the_newer_one(checkpoint, measured, spec, caplog, beside):
    older = replace(measured, checkpoint_sha256="0" * 64 if beside == "of other weights" else measured.checkpoint_sha256)
    older.write(checkpoint / "fidelity.json")
    place = cached_file(measured.checkpoint_sha256)
    place.parent.mkdir()
    replace(measured, steps={"ddim-5": NEAR}).write(place)
    assert chosen_among(checkpoint, "auto-fast", spec).steps == ("ddim-5", "ddpm") and not caplog.records


@pytest.mark.parametrize("damage", ["missing", "truncated", "of other weights", "a folder"])
def test_without_measurements_the_general_rule_is_used_with_a_message(checkpoint, measured, spec, caplog, damage):
    path = checkpoint / "fidelity.json"
    if damage == "truncated":
        measured.write(path)
        path.write_bytes(path.read_bytes()[:-40])
    if damage == "of other weights":
        replace(measured, checkpoint_sha256="0" * 64).write(path)
    if damage == "a folder":
        path.mkdir()
    found = chosen_among(checkpoint, "auto-fast", spec)
    assert found.steps == (GENERAL_RULE, "ddpm") and "by the general rule" in found.reason(GENERAL_RULE)
    (line,) = (record.getMessage() for record in caplog.records)
    assert GENERAL_RULE in line and f"paradp fidelity {checkpoint}" in line
    # Bounds that were given cannot be checked: the program must not choose for the user.
    with pytest.raises(ValueError, match=r"auto-fast:energy=0.02 needs the fidelity of .*paradp fidelity"):
        chosen_among(checkpoint, "auto-fast:energy=0.02", spec)


def test_bounds_that_no_sampler_meets_are_refused_before_anything_is_measured(checkpoint, measured, monkeypatch):
    measured.write(checkpoint / "fidelity.json")
    monkeypatch.setattr(autotuner.Autotuner, "choose", None)
    with pytest.raises(ValueError, match=r"no fewer steps than DDPM's own are within energy ≤ 0\.0001"):
        load_policy(checkpoint, "auto-fast:energy=0.0001", engine="eager")


def test_a_policy_is_loaded_with_the_samplers_within_bounds(checkpoint, measured, monkeypatch, caplog):
    measured.write(checkpoint / "fidelity.json")
    monkeypatch.setattr(candidates, "WINDOWS", (4,))
    for name in ("TURNS", "PLANS", "TRIALS"):
        monkeypatch.setattr(autotuner, name, 1)
    monkeypatch.setattr(autotuner, "MOST_ROWS", 4)
    with caplog.at_level("INFO", "paradp"):
        policy = load_policy(checkpoint, "auto-fast:spread=0.1", engine="eager")
    assert policy.planned is not None and policy.solver.table.steps in (5, 8)
    said = caplog.records[-1].getMessage()
    assert said.startswith("auto-fast:spread=0.1 is ") and "energy 0.0020" in said and "spread 0.9 to 1.1" in said

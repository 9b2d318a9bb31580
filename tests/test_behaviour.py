"""Recorded results are reproduced, and files of earlier versions are still read; see `behaviour.fixtures`.

Bit by bit on the recorded kind of machine, to 1e-4 elsewhere. If a test here fails, behaviour has changed.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from behaviour import fixtures
from behaviour.checkouts import ROOT, TESTS
from behaviour.comparing import Outcome, compare, equal
from behaviour.launch import check_origins
from behaviour.recording import EXCLUDED, excluded, from_folder, load

RECORDED = load(fixtures.RECORDED)
RECORDED_ON = json.loads(fixtures.RECORDED_ON.read_text())


def check(found: dict[str, np.ndarray], recorded_as: str) -> None:
    """Compares all values recorded under a name."""
    recorded = {
        name.removeprefix(f"{recorded_as}/"): value for name, value in RECORDED.items() if name.startswith(f"{recorded_as}/")
    }
    assert recorded and recorded.keys() <= found.keys()
    same_machine = fixtures.machine() == RECORDED_ON
    for name, value in recorded.items():
        here = found[name]
        if same_machine or value.dtype.kind == "U":
            assert equal(value, here), (name, value, here)
        else:
            np.testing.assert_allclose(here, value, rtol=1e-4, atol=1e-4 * scale(value), err_msg=name)


def scale(value: np.ndarray) -> float:
    """The size of an array's numbers, at least 1: goals in pixels are compared as fractions of the board."""
    return float(np.nan_to_num(np.abs(value.astype(np.float64))).max(initial=1.0))


@pytest.mark.parametrize("policy", fixtures.stored_policies())
def test_plans_equal_the_recorded_ones(policy):
    check(fixtures.plans(policy), f"plans/{policy}")


@pytest.mark.parametrize("training", fixtures.TRAININGS)
def test_a_training_has_the_recorded_losses(training, tmp_path):
    check(fixtures.train(training, tmp_path / "training"), f"losses/{training}")


def test_an_interrupted_old_training_continues_to_the_same_result(tmp_path):
    shutil.copytree(fixtures.TRAINING, tmp_path / "training")
    assert len((tmp_path / "training/metrics.jsonl").read_text().splitlines()) == 10
    check(fixtures.train(fixtures.INTERRUPTED, tmp_path / "training"), f"losses/{fixtures.INTERRUPTED}")


@pytest.fixture(scope="module")
def fresh_run(tmp_path_factory) -> Path:
    """The run of the fixtures with one more episode, by the current code."""
    run = tmp_path_factory.mktemp("fresh") / "run"
    fixtures.roll_out(run, 3)
    return run


def test_a_run_has_the_recorded_steps(fresh_run):
    check(fixtures.steps_of(fresh_run), "steps")


def test_an_old_run_is_shown_and_continued(fresh_run, tmp_path, capsys):
    run = tmp_path / "run"
    shutil.copytree(fixtures.RUN, run)
    as_if_made_here(run / "run.json", fresh_run / "run.json")
    before = {path.name: path.read_bytes() for path in (run / "episodes").iterdir()}
    fixtures.roll_out(run, 2)
    assert "pusht: 2 episodes, seeds 0 to 1" in capsys.readouterr().out
    fixtures.roll_out(run, 3)
    after = {path.name: path.read_bytes() for path in (run / "episodes").iterdir()}
    assert before.keys() == {"0.json", "1.json"} and after.keys() == {"0.json", "1.json", "2.json"}
    assert before.items() <= after.items(), "an episode was run again"
    check(fixtures.steps_of(run), "steps")


def test_an_old_run_of_another_checkpoint_is_not_continued(fresh_run, tmp_path, capsys):
    run = tmp_path / "run"
    shutil.copytree(fixtures.RUN, run)
    as_if_made_here(run / "run.json", fresh_run / "run.json")
    identity = json.loads((run / "run.json").read_text())
    identity["checkpoint_sha256"] = identity["checkpoint_sha256"][::-1]
    (run / "run.json").write_text(json.dumps(identity))
    with pytest.raises(SystemExit) as ended:
        fixtures.roll_out(run, 3)
    assert ended.value.code == 2 and "holds another run" in " ".join(capsys.readouterr().err.split())


def as_if_made_here(old: Path, fresh: Path) -> None:
    """Changes the recorded machine and packages to the present ones, because a run continues only with the same."""
    here, identity = json.loads(fresh.read_text()), json.loads(old.read_text())
    old.write_text(json.dumps(identity | {name: here[name] for name in ("hardware", "versions", "threads")}))


def test_an_old_store_is_read(capsys):
    fixtures.paradp("data", "inspect", fixtures.STORE)
    said = " ".join(capsys.readouterr().out.split())
    assert "3 episodes, 442 steps; shortest/median/longest" in said
    assert "demonstrations of pusht, actions position" in said


def test_a_difference_of_one_bit_is_detected():
    old = {"plans/actions": np.array([1.0, 2.0, np.nan], np.float32), "plans/rounds": np.array([3])}
    new = {name: value.copy() for name, value in old.items()}
    assert {one.outcome for one in compare(old, new)} == {Outcome.EQUAL}
    new["plans/actions"].view(np.int32)[1] += 1
    [differs, same] = compare(old, new)
    assert (differs.outcome, same.outcome) == (Outcome.DIFFERS, Outcome.EQUAL)
    assert differs.what == "1 of 3 numbers differ, by at most 2.38e-07"
    [intended, _] = compare(old, new, ["plans/act*"])
    assert intended.outcome is Outcome.INTENDED


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (np.array([0.0]), np.array([-0.0])),
        (np.array([1.0]), np.array([1.0], np.float32)),
        (np.array([1.0, 2.0]), np.array([[1.0, 2.0]])),
        (np.array([True]), np.array([False])),
        (np.array("one\ntwo"), np.array("one\nthree")),
        (np.array("1"), np.array(1)),
        (np.array(["a", "b"]), np.array(["a", "c"])),
    ],
)
def test_a_value_of_another_kind_differs(old, new):
    [one] = compare({"name": old}, {"name": new})
    assert one.outcome is Outcome.DIFFERS and one.what


def test_missing_values_are_faults_and_new_ones_are_not():
    value = np.array(1)
    assert [one.outcome for one in compare({"a": value}, {"b": value})] == [Outcome.MISSING, Outcome.NEW]
    why = {"part/failed": np.array("Failed: no")}
    for old, new in ((why, why), (why, {}), ({}, why)):
        assert [one.outcome for one in compare(old, new, ["*"])] == [Outcome.FAILED]


def test_files_are_read_by_their_format():
    """All numbers of a run, a training and a store, except those excluded by name."""
    found = from_folder(fixtures.FOLDER)
    for name in (
        "run/run.json/versions/torch",
        "run/summary.json/success/ci95",
        "run/steps.parquet/replan_rounds",
        "training/metrics.jsonl/train_loss",
        "training/state.safetensors/metadata/training/identity/data",
        "demonstrations.zarr/data/obs/agent_pos",
        "demonstrations.zarr/attributes/control_hz",
        "policies/unet-v/config.json/spec/horizons/predict",
        "policies/unet-v/README.md",
    ):
        assert name in found, name
    assert not any(excluded(name) for name in found)
    assert not [name for name in found if "seconds" in name or name.endswith("began")]


def test_only_times_pictures_and_duplicates_are_excluded():
    assert not any(excluded(name) for name in RECORDED)
    assert all(EXCLUDED.values())


def test_a_module_of_another_installation_is_detected(tmp_path):
    with pytest.raises(ImportError, match=r"paradp\.\S+ was imported from .*, not from"):
        check_origins(tmp_path)


@pytest.mark.slow
def test_a_checkout_does_the_same_twice(tmp_path):
    path = os.pathsep.join(filter(None, (str(TESTS), os.environ.get("PYTHONPATH"))))
    command = [sys.executable, "-m", "behaviour", ROOT, ROOT, "--parts", "demonstrations", "--work", tmp_path / "work"]
    done = subprocess.run(command, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "nothing differs" in done.stdout
    for side in ("old", "new"):
        assert "demonstrations/lift/data/action" in load(tmp_path / "work" / f"{side}.npz")

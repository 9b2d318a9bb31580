"""A release contains one checkpoint and the files that belong to it."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from paradp.checkpoints import load_policy, read_info, save_checkpoint
from paradp.checkpoints.cards import UNMEASURED, executed
from paradp.checkpoints.finding import FILES
from paradp.envs import TASKS
from paradp.policy import Horizons
from paradp.rollouts import Summary
from paradp.scripts import release
from paradp.scripts.release import copy_checkpoint, name_of

RUN = Path(__file__).parents[1] / "data/behaviour/run/summary.json"
OPTIONAL = ("fidelity.json", "draft.json", "draft.safetensors")


def test_measurements_of_a_checkpoint_are_released_with_it(tmp_path):
    new, old = tmp_path / "new", tmp_path / "old"
    for place, names in ((new, (*FILES, OPTIONAL[0])), (old, (*FILES, *OPTIONAL))):
        place.mkdir()
        for name in names:
            (place / name).write_text(f"{name} of {place.name}")
    copy_checkpoint(new, old)
    assert {path.name: path.read_text() for path in old.iterdir()} == {
        name: f"{name} of new" for name in (*FILES, OPTIONAL[0])
    }


def write_summary(run: Path, checkpoint: Path, execute: int) -> None:
    """The results of a run with another number of executed actions."""
    found = json.loads(RUN.read_text())
    measured = {"name": "policy", "sha256": read_info(checkpoint).model_sha256}
    run.mkdir()
    (run / "summary.json").write_text(json.dumps(found | {"task": "reach", "execute": execute, "checkpoint": measured}))


def test_a_policy_is_released_with_the_number_of_executed_actions_of_its_rollouts(spec, trained, tmp_path, monkeypatch):
    checkpoint = tmp_path / "policy"
    save_checkpoint(trained, checkpoint, f"2 observations; {executed(spec)}.\n\n{UNMEASURED}\n")
    monkeypatch.setattr(release, "IN_TREE", tmp_path / "pretrained")
    (tmp_path / "pretrained").mkdir()
    (checkpoint / OPTIONAL[0]).write_text("of 8 executed actions")
    runs = [tmp_path / name for name in ("four", "also", "eight")]
    for run, execute in zip(runs, (4, 4, 8), strict=True):
        write_summary(run, checkpoint, execute)
    release.release(checkpoint, runs[:2])
    found, card = tmp_path / "pretrained/reach", (tmp_path / "pretrained/reach/README.md").read_text()
    assert read_info(found).spec == replace(spec, horizons=Horizons(2, 16, 4))
    assert "; 4 of them are executed before" in card and card.count(": success ") == 2
    assert not (found / OPTIONAL[0]).exists() and load_policy(found, "ddim-2", engine="eager").spec.horizons.execute == 4
    with pytest.raises(ValueError, match=r"executed different numbers of actions \(4, 8\)"):
        release.release(checkpoint, runs)
    with pytest.raises(ValueError, match=r"--runs must name at least one finished rollout"):
        release.release(checkpoint, [])
    release.release(checkpoint, runs[2:])
    assert read_info(found).spec == spec and (found / OPTIONAL[0]).exists()


def test_a_card_says_under_which_conditions_success_was_measured():
    usual = replace(Summary.read(RUN), task="lift", max_steps=TASKS["lift"].task.max_steps)
    others = {"clock": "fixed:740", "controller": "ahead", "disturbance": "push", "max_steps": 50}
    assert not release._conditions(usual)
    said = {name: release._result(replace(usual, **{name: value})) for name, value in others.items()}
    assert len({release._result(usual), *said.values()}) == 5
    assert release._conditions(replace(usual, **others)) == (
        ", clock fixed:740, controller ahead, disturbance push, at most 50 steps"
    )


def test_a_run_of_another_task_is_not_released(trained, tmp_path, monkeypatch):
    checkpoint, run = tmp_path / "policy", tmp_path / "run"
    save_checkpoint(trained, checkpoint, f"{UNMEASURED}\n")
    monkeypatch.setattr(release, "IN_TREE", tmp_path)
    write_summary(run, checkpoint, 8)
    found = json.loads((run / "summary.json").read_text())
    (run / "summary.json").write_text(json.dumps(found | {"task": "lift"}))
    with pytest.raises(ValueError, match=r"is of the task lift, and .*policy of reach"):
        release.release(checkpoint, [run])
    assert not (tmp_path / "reach").exists()


def test_a_policy_with_images_does_not_replace_the_tasks_policy(spec):
    assert name_of(spec) == "reach"
    assert name_of(replace(spec, observation={"camera": (6, 6, 1), "position": 2})) == "reach-image"

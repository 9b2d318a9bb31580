"""paradp without the package of pretrained policies: commands say what to install, and work without."""

import pytest

from paradp.checkpoints import finding
from paradp.scripts import release
from paradp.scripts.info import info
from paradp.scripts.places import checkpoint_named, checkpoint_of
from paradp.scripts.release import release as release_command
from paradp.scripts.tasks import tasks

TO_DO = "the pretrained policies are not installed: in a clone of paradp, pip install ./checkpoints/pretrained"


@pytest.fixture(autouse=True)
def nothing_installed(monkeypatch, tmp_path):
    for module in (finding, release):
        monkeypatch.setattr(module, "IN_TREE", tmp_path / "no tree")
    monkeypatch.setattr(finding, "find_spec", lambda name: None)
    monkeypatch.chdir(tmp_path)


# A folder that has the task's name is not taken for the policy.
@pytest.mark.parametrize("folder", [None, "square"])
def test_a_missing_policy_of_a_task_is_named(tmp_path, folder):
    if folder:
        (tmp_path / folder).mkdir()
    with pytest.raises(ValueError, match=TO_DO):
        checkpoint_of("square", None)


def test_a_missing_policy_is_named():
    for name in ("square", "runs/train/checkpoint"):
        with pytest.raises(ValueError, match=TO_DO):
            checkpoint_named(name)


def test_lists_say_that_no_policies_are_installed(capsys):
    info()
    tasks("square")
    printed = " ".join(capsys.readouterr().out.split())
    assert f"policies: {TO_DO}" in printed and f"weights: {TO_DO}" in printed
    tasks()
    assert "weights" not in capsys.readouterr().out


def test_a_release_needs_a_clone(tmp_path):
    with pytest.raises(ValueError, match="clone"):
        release_command(tmp_path, [tmp_path])
    assert not list(tmp_path.iterdir())

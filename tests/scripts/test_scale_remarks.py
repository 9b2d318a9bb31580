"""The commands that read data say which vectors should be split, and no longer once they are."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from lerobot_data_fixtures import INFO

from paradp.bridges.lerobot_data.writing import export_lerobot
from paradp.policy.data.demonstrations import Demonstrations
from paradp.policy.data.episode import DemonstrationEpisode

SAID = (
    "remark: observation.state: its 4 dimensions share one scale",
    "0.08 in dimension 3",
    "remark: action: its 3 dimensions",
)


def demonstrations(path: Path) -> Demonstrations:
    """Two episodes in which the gripper moves far less than the hand."""
    there = Demonstrations.open_or_create(path, replace(INFO, observation={"eef_pos": 3, "gripper": 1}))
    rising = np.linspace(0, 1, 40, dtype=np.float32)[:, None]
    actions = rising * np.float32([1, 1, 0.05])
    observed = {"eef_pos": 3 * rising.repeat(3, 1), "gripper": 0.08 * rising}
    for seed in range(2):
        there.append(DemonstrationEpisode(observed, actions, actions, seed))
    there.close()
    return Demonstrations.open(path)


@pytest.fixture
def theirs(tmp_path) -> Path:
    """The same in LeRobot's form, with the names of the quantities in `paradp.yaml`."""
    export_lerobot(demonstrations(tmp_path / "own.zarr"), tmp_path / "theirs")
    return tmp_path / "theirs"


def test_every_command_remarks_on_unsplit_vectors(theirs, tmp_path, printed_by):
    small = ("--steps", 1, "--batch-size", 2, "--channels", 8, "16")
    commands = {
        "inspect": ("data", "inspect", theirs),
        "import": ("data", "import", theirs, "--out", tmp_path / "demos.zarr"),
        "imported": ("data", "inspect", tmp_path / "demos.zarr"),
        "train": ("train", "lift", "--data", theirs, "--out", tmp_path / "run", *small),
    }
    facts = yaml.safe_load((theirs / "paradp.yaml").read_text())
    assert "share one scale" not in printed_by(*commands["inspect"])
    (theirs / "paradp.yaml").write_text(yaml.safe_dump({**facts, "observation": None, "action": None}))
    for name, words in commands.items():
        said = printed_by(*words)
        assert all(part in said for part in SAID), name


def test_quantities_of_paradps_own_tasks_are_not_remarked_on(tmp_path, printed_by):
    """In a position or a rotation a narrow dimension is right."""
    there = Demonstrations.open_or_create(tmp_path / "own.zarr", replace(INFO, observation={"eef_pos": 3}))
    rising = np.linspace(0, 1, 40, dtype=np.float32)[:, None] * np.float32([1, 1, 0.01])
    there.append(DemonstrationEpisode({"eef_pos": rising}, rising, rising, 0))
    there.close()
    assert "remark" not in printed_by("data", "inspect", tmp_path / "own.zarr")

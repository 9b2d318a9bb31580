"""Only the selected features of a LeRobotDataset are checked and read."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from lerobot_data_fixtures import FACTS, THEIRS, copied

from paradp.bridges.importing import import_data
from paradp.bridges.lerobot_data.reading import LeRobotData
from paradp.policy.data.demonstrations import Demonstrations
from paradp.scripts.datasets import open_data
from paradp.scripts.main import main

STATE, FORCE = "observation.state", "observation.force"
WRIST, TOP = "observation.images.wrist", "observation.images.top"
UNSUPPORTED = {
    "depths": {"dtype": "video", "shape": [64, 80, 3], "info": {"is_depth_map": True}},
    "a text": {"dtype": "string", "shape": [1]},
    "a matrix": {"dtype": "float32", "shape": [4, 4]},
}
OUT = r"; list the features to read, without this one, under observation: in paradp\.yaml, or after --keys in an import"


def with_feature(folder: Path, key: str, one: dict) -> Path:
    """A copy of LeRobot's data set that describes one feature more."""
    path = copied(folder) / "meta/info.json"
    content = json.loads(path.read_text())
    content["features"][key] = one
    path.write_text(json.dumps(content))
    return path.parents[1]


def select(folder: Path, observation: dict) -> None:
    facts = {key: list(one) if isinstance(one, tuple) else one for key, one in FACTS.items()}
    (folder / "paradp.yaml").write_text(yaml.safe_dump({**facts, "observation": observation}, sort_keys=False))


@pytest.mark.parametrize("kind", UNSUPPORTED)
def test_an_unsupported_feature_can_be_left_out(kind, tmp_path):
    folder = with_feature(tmp_path, "observation.other", UNSUPPORTED[kind])
    with pytest.raises(ValueError, match=rf"observation\.other .*{OUT}"):
        LeRobotData.open(folder, FACTS)
    keys = [STATE, FORCE, WRIST, TOP]
    assert LeRobotData.open(folder, FACTS, keys=keys).digest() == LeRobotData.open(THEIRS, FACTS).digest()
    select(folder, {STATE: "hand", WRIST: "wrist"})
    assert list(open_data(folder, "reach").info.observation) == ["hand", "wrist"]


def test_a_camera_that_is_left_out_is_not_opened(tmp_path):
    """Neither by a training, which reads all or streams, nor by an import."""
    folder = copied(tmp_path)
    shutil.rmtree(folder / "videos")
    select(folder, {WRIST: "wrist", STATE: {"hand": 2, "grip": 1}})
    read, whole = open_data(folder, "reach"), LeRobotData.open(THEIRS, FACTS).observations()
    found = read.observations()
    # In the data set's order, not in that of paradp.yaml.
    assert list(found) == ["hand", "grip", "wrist"] and np.array_equal(found["wrist"], whole[WRIST])
    assert np.array_equal(np.concatenate([found["hand"], found["grip"]], 1), whole[STATE])
    streamed = {"wrist": np.empty((6, 64, 80, 3), np.uint8)}
    read.images().fill(3, 9, streamed)
    assert np.array_equal(streamed["wrist"], whole[WRIST][3:9]) and list(read.images().shapes) == ["wrist"]
    assert import_data(read, tmp_path / "demos.zarr").digest() == read.digest()


def test_keys_select_among_the_named_features():
    named = {STATE: {"hand": 2, "grip": 1}, WRIST: "wrist"}
    read = LeRobotData.open(THEIRS, {**FACTS, "observation": named}, keys=[WRIST])
    assert read.info.observation == {"wrist": (64, 80, 3)}
    with pytest.raises(ValueError, match=r"has no observed feature 'action'; there are observation\.state, "):
        LeRobotData.open(THEIRS, FACTS, keys=["action"])


def test_the_commands_read_only_what_is_selected(tmp_path, monkeypatch, capsys):
    folder = with_feature(tmp_path, "observation.other", UNSUPPORTED["depths"])
    shutil.rmtree(folder / "videos")
    select(folder, {STATE: "hand"})
    monkeypatch.setattr("sys.argv", ["paradp", "data", "inspect", str(folder)])
    main()
    assert "hand" in (said := capsys.readouterr().out) and "images" not in said and "force" not in said
    out = tmp_path / "demos.zarr"
    (folder / "paradp.yaml").write_text("action_low: [-1, -1]\naction_high: [1, 1]\n")
    chosen = ["--task", "pusht", "--keys", FORCE, "--out", str(out)]
    monkeypatch.setattr("sys.argv", ["paradp", "data", "import", str(folder), *chosen])
    main()
    assert Demonstrations.open(out).info.observation == {FORCE: 1}

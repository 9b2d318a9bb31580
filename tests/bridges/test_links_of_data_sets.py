"""Reading a data set never leads out of its folder, neither by links to files or folders nor by names."""

import json
from pathlib import Path

import h5py
import numpy as np
import pytest
import zarr
from lerobot_data_fixtures import FACTS, copied

from paradp.bridges.diffusion_policy_data import DiffusionPolicyData
from paradp.bridges.lerobot_data.reading import LeRobotData
from paradp.bridges.minari_data import MinariData

STATE = np.arange(12.0).reshape(6, 2)
OUT = "leads out of the folder"


@pytest.fixture
def replay(tmp_path) -> Path:
    """A data set of Diffusion Policy whose chunks lie in folders."""
    root = tmp_path / "replay.zarr"
    group = zarr.open_group(root, mode="w", zarr_format=2)
    ends = np.array([6])
    for name, values in {"data/state": STATE, "data/action": STATE + 1, "meta/episode_ends": ends}.items():
        group.create_array(name, data=values, chunks=values.shape, compressors=None)
    described = json.loads((root / "data/state/.zarray").read_text())
    (root / "data/state/.zarray").write_text(json.dumps(described | {"dimension_separator": "/"}))
    (root / "data/state/0").mkdir(exist_ok=True)
    (root / "data/state/0.0").rename(root / "data/state/0/0")
    return root


def moved(folder: Path, name: str, to: Path) -> None:
    """Moves a part of the folder away, and replaces it by a link."""
    to.parent.mkdir(exist_ok=True)
    (folder / name).rename(to)
    (folder / name).symlink_to(to)


@pytest.mark.parametrize("name", ["data", "data/state", "data/state/0", "meta", "meta/episode_ends"])
def test_links_in_a_data_set_of_diffusion_policy_do_not_lead_out_of_its_folder(name, replay, tmp_path):
    moved(replay, name, tmp_path / "private" / "part")
    with pytest.raises(ValueError, match=OUT):
        DiffusionPolicyData.open(replay, {}).vectors()


def test_links_within_the_folder_are_followed(replay, tmp_path):
    moved(replay, "data/state", replay / "parts" / "state")
    (tmp_path / "named").symlink_to(replay)  # the user's own link
    assert np.array_equal(DiffusionPolicyData.open(tmp_path / "named", {}).vectors()["state"], STATE)


@pytest.mark.parametrize(
    "name", ["meta", "meta/episodes", "data", "data/chunk-000", "videos", "videos/observation.images.top/chunk-000"]
)
def test_links_in_a_data_set_of_lerobot_do_not_lead_out_of_its_folder(name, tmp_path):
    folder = copied(tmp_path)
    moved(folder, name, tmp_path / "private" / "part")
    with pytest.raises(ValueError, match=OUT):
        LeRobotData.open(folder, FACTS).observations()


@pytest.mark.parametrize("key", ["observation./../../private", "observation.\\..\\private", "observation.\0"])
def test_the_name_of_a_feature_cannot_be_a_path(key, tmp_path):
    folder = copied(tmp_path)
    described = json.loads((folder / "meta/info.json").read_text())
    described["features"][key] = described["features"]["observation.images.top"]
    (folder / "meta/info.json").write_text(json.dumps(described))
    with pytest.raises(ValueError, match="is not a name of a feature"):
        LeRobotData.open(folder, FACTS)


def test_links_in_a_data_set_of_minari_do_not_lead_out_of_its_folder(tmp_path):
    (tmp_path / "set/data").mkdir(parents=True)
    with h5py.File(tmp_path / "set/data/main_data.hdf5", "w") as file:
        file["episode_0/observations"], file["episode_0/actions"] = STATE, STATE
    assert MinariData.open(tmp_path / "set").lengths == [6]
    moved(tmp_path / "set", "data", tmp_path / "private" / "part")
    assert MinariData.open(tmp_path / "set/data/main_data.hdf5").lengths == [6]  # a file that the user named
    with pytest.raises(ValueError, match=OUT):
        MinariData.open(tmp_path / "set")

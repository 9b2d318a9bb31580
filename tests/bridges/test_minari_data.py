"""Minari's data sets, in files written like its `hdf5_storage.py` does."""

import json
from pathlib import Path

import h5py
import numpy as np
import pytest

from paradp.bridges.importing import import_data
from paradp.bridges.minari_data import MinariData
from paradp.policy.files import hdf5

FACTS = {"task": "reach", "control_hz": 20}
LENGTHS = (4, 1, 6)
SHAPE = (10, 12, 3)
SPACE = {"type": "Box", "dtype": "float32", "shape": [2], "low": [-1.0, -1.0], "high": [1.0, 2.0]}


def write(folder: Path, change=lambda file: None, space=SPACE) -> dict[str, list[np.ndarray]]:
    """Writes a file like Minari's storage, with the last observation of each episode; returns its content."""
    folder.mkdir(exist_ok=True)
    rng, kept = np.random.default_rng(0), {"front": [], "hand": [], "actions": []}
    with h5py.File(folder / "main_data.hdf5", "w", track_order=True) as file:
        for number, steps in enumerate(LENGTHS):
            group = file.create_group(f"episode_{number}")
            group.attrs.update({"id": number, "total_steps": steps, "seed": 7})
            arrays = {
                "observations/camera/front": rng.integers(0, 256, (steps + 1, *SHAPE), np.uint8),
                "observations/hand": rng.normal(size=(steps + 1, 3)),
                "actions": rng.uniform(-1, 1, (steps, 2)).astype(np.float32),
                "rewards": np.zeros(steps),
                "terminations": np.zeros(steps, bool),
                "truncations": np.zeros(steps, bool),
            }
            for name, values in arrays.items():
                group.create_dataset(name, data=values, chunks=True, maxshape=(None, *values.shape[1:]))
                kept.get(name.rpartition("/")[2], []).append(values)
            group.create_dataset("infos", data=np.array(["{}"] * steps, dtype=h5py.string_dtype()))
        change(file)
    metadata = {"total_episodes": 3, "data_format": "hdf5", "action_space": json.dumps(space)}
    (folder / "metadata.json").write_text(json.dumps(metadata))
    return kept


def test_episodes_equal_those_that_were_written(tmp_path):
    kept = write(tmp_path / "data")
    read = MinariData.open(tmp_path, FACTS)
    assert read.info.observation == {"camera/front": SHAPE, "hand": 3}
    assert (read.info.action_low, read.info.action_high) == ((-1.0, -1.0), (1.0, 2.0))
    for index, episode in enumerate(read.episodes()):
        steps = LENGTHS[index]
        assert np.array_equal(episode.observations["camera/front"], kept["front"][index][:steps])
        assert np.array_equal(episode.observations["hand"], kept["hand"][index][:steps].astype(np.float32))
        assert np.array_equal(episode.actions, kept["actions"][index])
    made = import_data(read, tmp_path / "demos.zarr")
    assert np.array_equal(made.observations()["camera/front"][4], kept["front"][1][0])
    assert tuple(made.episode_ends) == (4, 5, 11)


def test_a_single_array_of_observations_has_a_name(tmp_path):
    def flat(file):
        for number in range(len(LENGTHS)):
            del file[f"episode_{number}/observations"]
            file[f"episode_{number}/observations"] = np.ones((LENGTHS[number] + 1, 5))

    write(tmp_path / "data", flat)
    assert MinariData.open(tmp_path / "data", FACTS).info.observation == {"observation": 5}
    assert MinariData.open(tmp_path / "data/main_data.hdf5", FACTS).lengths == list(LENGTHS)


def test_limits_that_are_not_finite_must_be_given(tmp_path):
    write(tmp_path / "data", space={**SPACE, "high": [float("inf"), 1.0]})
    with pytest.raises(ValueError, match=r"does not say its action_low, action_high: write them into .*paradp\.yaml"):
        assert MinariData.open(tmp_path, FACTS).info


def replaced(name: str, values: np.ndarray):
    def change(file):
        del file[name]
        file[name] = values

    return change


def linked(file) -> None:
    del file["episode_1/observations/hand"]
    file["episode_1/observations/hand"] = h5py.ExternalLink("other.hdf5", "/x")


def texts(file) -> None:
    for number, steps in enumerate(LENGTHS):
        file[f"episode_{number}/observations/mission"] = np.array(["go"] * (steps + 1), dtype=h5py.string_dtype())


def multiplied(file) -> None:
    """24 links to a group, which has 24 links to another group, which has 24 links to an array."""
    groups = [file["episode_1/observations"].create_group("a"), file.create_group("b"), file.create_group("c")]
    for group, target in zip(groups, [*groups[1:], file["episode_1/observations/hand"]], strict=True):
        for number in range(24):
            group[f"{number}"] = target


def in_a_circle(file) -> None:
    file["episode_1/observations/camera/again"] = file


SPOILT = {
    "another size": (
        replaced("episode_2/observations/camera/front", np.zeros((7, 10, 13, 3), np.uint8)),
        r"episode_2 has \[10, 13, 3\] numbers or pixels a step in 'camera/front', episode_0 has \[10, 12, 3\]",
    ),
    "channels first": (
        replaced("episode_0/observations/camera/front", np.zeros((5, 3, 10, 12), np.uint8)),
        r"camera.*front has its channels first|/front has its channels first",
    ),
    "float images": (
        replaced("episode_1/observations/camera/front", np.full((2, *SHAPE), 0.25, np.float32)),
        r"camera/front holds float images from 0\.25 to 0\.25",
    ),
    "a missing camera": (
        lambda file: file.__delitem__("episode_1/observations/camera"),
        r"episode_1 has no numbers or pixels a step in 'camera/front'",
    ),
    "too short": (
        replaced("episode_2/observations/hand", np.zeros((3, 3))),
        r"episode_2/hand has 3 steps, its actions have 6",
    ),
    "not finite": (
        replaced("episode_2/observations/hand", np.full((7, 3), np.inf)),
        r"episode_2/hand is not finite in step 0",
    ),
    "a link": (linked, r"links are not followed"),
    "groups of many names": (multiplied, r"is the same object as another entry; each must have its own"),
    "groups in a circle": (in_a_circle, r"is the same object as another entry; each must have its own"),
    "texts": (texts, r"mission holds .*object"),
    "no episodes": (lambda file: [file.__delitem__(name) for name in list(file)], r"number of episodes must be from 1"),
}


@pytest.mark.parametrize("what", SPOILT)
def test_damaged_data_sets_are_refused_by_name_and_leave_no_files(what, tmp_path):
    change, message = SPOILT[what]
    write(tmp_path / "data", change)
    with pytest.raises(ValueError, match=message):
        import_data(MinariData.open(tmp_path, FACTS), tmp_path / "demos.zarr")
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_observations_can_be_left_out(tmp_path):
    write(tmp_path / "data", texts)
    assert MinariData.open(tmp_path, FACTS, keys=["hand"]).info.observation == {"hand": 3}
    with pytest.raises(ValueError, match=r"episode_0 lacks the observation 'wrist'; it has: camera/front, hand, mission"):
        MinariData.open(tmp_path, FACTS, keys=["wrist"])


def test_arrays_in_nested_groups_are_counted(tmp_path, monkeypatch):
    """3 episodes, with 6 entries, 2 of observations, and 1 in the group of the camera: 30 arrays and groups."""
    write(tmp_path / "data")
    monkeypatch.setattr(hdf5, "MOST_ARRAYS", 30)
    assert MinariData.open(tmp_path, FACTS).lengths == list(LENGTHS)
    monkeypatch.setattr(hdf5, "MOST_ARRAYS", 29)
    with pytest.raises(ValueError, match="it holds more than 29 arrays and groups"):
        MinariData.open(tmp_path, FACTS)

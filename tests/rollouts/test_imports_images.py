"""robomimic's files with cameras: read to the pixel, an episode at a time, and refused by name."""

import json
from pathlib import Path

import h5py
import numpy as np
import pytest

from paradp.policy.files import memory
from paradp.rollouts.imports.importing import import_file
from paradp.rollouts.imports.recordings import read_file, read_images

LIFT = Path(__file__).parents[1] / "data/robosuite_human/lift_panda.hdf5"
ENV_ARGS = {"env_name": "Lift", "env_version": "1.4.1", "type": 1, "env_kwargs": {"robots": ["Panda"], "control_freq": 20}}
SHAPE = (8, 10, 3)
KEYS = ["agentview_image", "robot0_eef_pos"]
STEPS = (30, 20)


@pytest.fixture
def write(tmp_path):
    """Writes a file as robomimic's `dataset_states_to_obs.py` does: compressed images in `obs`; anything can be changed."""

    def write(change=lambda data: None) -> Path:
        rng = np.random.default_rng(0)
        with h5py.File(LIFT) as human, h5py.File(tmp_path / "image.hdf5", "w") as file:
            data = file.create_group("data")
            data.attrs["env_args"] = json.dumps(ENV_ARGS)
            for index, steps in enumerate(STEPS):
                demo = data.create_group(f"demo_{index}")
                for key in ("states", "actions"):
                    demo[key] = human["data/demo_1"][key][:steps]
                demo["obs/robot0_eef_pos"] = rng.standard_normal((steps, 3))
                for key in ("agentview_image", "robot0_eye_in_hand_image"):
                    pixels = rng.integers(0, 256, (steps, *SHAPE), np.uint8)
                    demo.create_dataset(f"obs/{key}", data=pixels, compression="gzip")
            change(data)
        return tmp_path / "image.hdf5"

    return write


def imported(path: Path, keys=KEYS):
    return import_file(
        read_file(path), path.with_name("lift.zarr"), action_convention="delta", observations="recorded", keys=keys
    ).demonstrations


def test_imported_images_equal_those_in_the_file(write):
    path = write()
    read = read_file(path)
    assert read.images == dict.fromkeys(("agentview_image", "robot0_eye_in_hand_image"), SHAPE) and not read.unread
    made = imported(path, [*KEYS, "robot0_eye_in_hand_image"])
    assert list(made.info.observation) == ["agentview_image", "robot0_eef_pos", "robot0_eye_in_hand_image"]
    with h5py.File(path) as file:
        for key in read.images:
            expected = np.concatenate([file[f"data/demo_{i}/obs/{key}"][:] for i in range(len(STEPS))])
            assert np.array_equal(made.observations()[key], expected), key


def test_only_one_episode_is_in_memory_at_a_time(write, monkeypatch):
    path, asked = write(), []
    monkeypatch.setattr("paradp.rollouts.imports.recordings.check_fits", lambda needed, what: asked.append((needed, what)))
    imported(path)
    one_step = SHAPE[0] * SHAPE[1] * SHAPE[2]
    assert asked == [(2 * steps * one_step, f"the images of demo_{i}") for i, steps in enumerate(STEPS)]


def test_floats_that_are_pixel_values_are_read(write):
    def floats(data):
        for index in range(len(STEPS)):
            observed = data[f"demo_{index}/obs"]
            pixels = observed["agentview_image"][:].astype(np.float32)
            del observed["agentview_image"]
            observed["agentview_image"] = pixels

    path = write(floats)
    read = read_images(read_file(path), "demo_1", ["agentview_image"])["agentview_image"]
    with h5py.File(path) as file:
        assert read.dtype == np.uint8 and np.array_equal(read, file["data/demo_1/obs/agentview_image"][:])


def replaced(values: np.ndarray, demo: str = "demo_1"):
    def change(data):
        del data[f"{demo}/obs/agentview_image"]
        data[f"{demo}/obs/agentview_image"] = values

    return change


SPOILT = {
    "another size": (
        replaced(np.zeros((20, 8, 12, 3), np.uint8)),
        "agentview_image differs in the size of its images between demonstrations",
    ),
    "channels first": (
        replaced(np.zeros((20, 3, 8, 10), np.uint8)),
        r"demo_1/obs/agentview_image has its channels first \(shape \(20, 3, 8, 10\)\)",
    ),
    "float images": (
        replaced(np.full((20, *SHAPE), 0.5, np.float32)),
        r"demo_1/obs/agentview_image holds float images from 0\.5 to 0\.5",
    ),
    "a missing camera": (
        lambda data: data["demo_1/obs"].__delitem__("agentview_image"),
        "obs/agentview_image is not in every demonstration",
    ),
    "fewer frames": (
        replaced(np.zeros((19, *SHAPE), np.uint8)),
        "demo_1/obs/agentview_image has 19 steps, its actions have 20",
    ),
}


@pytest.mark.parametrize("what", SPOILT)
def test_wrong_images_are_refused_by_name_and_leave_no_files(what, write, tmp_path):
    change, message = SPOILT[what]
    path = write(change)
    with pytest.raises(ValueError, match=message):
        imported(path)
    assert [one.name for one in tmp_path.iterdir()] == ["image.hdf5"]
    # What is not needed may have defects.
    assert len(imported(path, ["robot0_eef_pos"])) == len(STEPS)


def test_an_episode_that_does_not_fit_into_memory_is_refused_before_allocation(write, tmp_path, monkeypatch):
    path = write()
    monkeypatch.setattr(memory, "available", lambda: 1000)
    with pytest.raises(ValueError, match=r"the images of demo_0 take .* GiB of memory"):
        imported(path)
    assert [one.name for one in tmp_path.iterdir()] == ["image.hdf5"]

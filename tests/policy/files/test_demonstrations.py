"""Demonstrations on disk: names of keys, older layouts, and errors that name any damage."""

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from vectors import joined

from paradp.policy.data import demonstrations
from paradp.policy.data.demonstrations import Demonstrations
from paradp.policy.data.episode import DemonstrationEpisode
from paradp.policy.data.windows import cut_windows
from paradp.policy.files.zarr_store import StoredArray
from paradp.policy.horizons import Horizons

KEYS = [
    "action",
    "executed",
    "obs",
    "c",
    "zarr.json",
    ".zarray",
    ".",
    "..",
    "a/b",
    "../../x",
    "%2E",
    "größe",
    "🤖",
    " ",
    "A",
]
KEYS += ["a", "x" * 80, "a\\b", "con:", "*", "\n"]


def write(path: Path, info, keys, episodes: int = 3) -> tuple[Demonstrations, np.ndarray]:
    """Demonstrations with these observations, and all observations side by side."""
    info = dataclasses.replace(info, observation={key: 1 + i % 3 for i, key in enumerate(keys)})
    there, rng, seen = Demonstrations.open_or_create(path, info), np.random.default_rng(0), []
    for seed in range(episodes):
        values = {key: rng.standard_normal((9, size)).astype(np.float32) for key, size in info.observation.items()}
        there.append(DemonstrationEpisode(values, rng.uniform(-1, 1, (9, 2)), np.full((9, 2), 0.5), seed))
        seen.append(np.concatenate(list(values.values()), axis=1))
    return there, np.concatenate(seen)


def test_an_observation_may_have_any_name(tmp_path, info):
    _, seen = write(tmp_path / "d.zarr", info, KEYS)
    again = Demonstrations.open(tmp_path / "d.zarr")
    assert list(again.info.observation) == KEYS
    assert np.array_equal(joined(again.observations()), seen)
    assert np.abs(again.actions()).max() <= 1 and again.actions().shape == (27, 2)
    assert sorted(p.name for p in tmp_path.iterdir()) in (["d.zarr"], [".d.zarr.lock", "d.zarr"])
    continued = Demonstrations.open_or_create(tmp_path / "d.zarr", again.info)
    assert np.array_equal(joined(continued.observations()), seen)


NAMES = st.text(min_size=1, max_size=20).filter(str.isprintable)


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(keys=st.lists(NAMES, min_size=1, max_size=4, unique=True))
def test_names_of_keys_do_not_collide(info, tmp_path_factory, keys):
    path = tmp_path_factory.mktemp("names") / "d.zarr"
    _, seen = write(path, info, keys, episodes=1)
    assert np.array_equal(joined(Demonstrations.open(path).observations()), seen)


@pytest.mark.parametrize("key", ["", "x" * 81, "ü" * 41])
def test_names_that_no_file_can_have_are_refused(info, key):
    with pytest.raises(ValueError, match="must have 1 to 80 bytes"):
        dataclasses.replace(info, observation={key: 1})


def as_first_layout(path: Path) -> None:
    """Converts a store to the first layout: observations beside the actions, and no chunks of zeros."""
    (path / "data/obs").rename(path / "observations")
    for folder in (path / "observations").iterdir():
        if folder.is_dir():
            folder.rename(path / "data" / folder.name)
    shutil.rmtree(path / "observations")
    root = json.loads((path / "zarr.json").read_text())
    del root["attributes"]["layout"]
    (path / "zarr.json").write_text(json.dumps(root))
    for file in path.glob("*/*/zarr.json"):
        node = json.loads(file.read_text())
        node["codecs"][1]["configuration"]["checksum"] = False
        file.write_text(json.dumps(node))


def test_the_first_layout_is_read_and_continued(tmp_path, info):
    there, seen = write(tmp_path / "d.zarr", info, ["position", "obs"])
    as_first_layout(tmp_path / "d.zarr")
    assert (tmp_path / "d.zarr/data/position/zarr.json").exists()
    # zarr left out chunks of zeros then.
    shutil.rmtree(tmp_path / "d.zarr/data/executed/c")
    again = Demonstrations.open_or_create(tmp_path / "d.zarr", there.info)
    assert np.array_equal(joined(again.observations()), seen) and len(again) == 3
    again.append(
        DemonstrationEpisode({"position": seen[:9, :1], "obs": seen[:9, 1:]}, np.zeros((9, 2)), np.zeros((9, 2)), 9)
    )
    assert np.array_equal(joined(Demonstrations.open(tmp_path / "d.zarr").observations()), np.concatenate([seen, seen[:9]]))


def test_an_observation_stored_in_place_of_the_actions_is_refused(tmp_path, info):
    there, _ = write(tmp_path / "d.zarr", info, ["action", "position"])
    shutil.rmtree(tmp_path / "d.zarr/data/obs/action")
    as_first_layout(tmp_path / "d.zarr")
    with pytest.raises(ValueError, match=r"d\.zarr .*the observation 'action' took the place of the actions"):
        Demonstrations.open(there.path)


DAMAGE = {
    "cut short": lambda old: old[:-9],
    "noise": lambda old: np.random.default_rng(1).bytes(len(old)),
    "empty": lambda old: b"",
    "one byte": lambda old: old[:20] + bytes([old[20] ^ 1]) + old[21:],
}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("array", ["data/obs/position", "data/action", "meta/episode_ends"])
def test_a_damaged_chunk_is_named(demonstrations, array, damage):
    [chunk] = (p for p in (demonstrations.path / array / "c").rglob("*") if p.is_file())
    chunk.write_bytes(DAMAGE[damage](chunk.read_bytes()))
    with pytest.raises(ValueError, match=rf"demos\.zarr.* damaged: .*{array}|{array}.* damaged"):
        cut_windows(Demonstrations.open(demonstrations.path), Horizons(), 50)
    # The same where it happens under a training that has begun.
    with pytest.raises(ValueError, match=rf"demos\.zarr is damaged: {array} cannot be read"):
        cut_windows(demonstrations, Horizons(), 50)


def test_chunks_of_zeros_are_stored_and_a_lost_one_is_missed(tmp_path, info):
    info = dataclasses.replace(info, observation={"zero": 1})
    there = Demonstrations.open_or_create(tmp_path / "d.zarr", info)
    nothing = np.zeros((9, 2))
    there.append(DemonstrationEpisode({"zero": nothing[:, :1]}, nothing, nothing, 0))
    assert not joined(Demonstrations.open(there.path).observations()).any()
    (there.path / "data/obs/zero/c/0/0").unlink()
    with pytest.raises(ValueError, match="chunks of data/obs/zero are missing"):
        Demonstrations.open(there.path)


def test_left_over_files_of_a_killed_process_are_ignored(demonstrations):
    (demonstrations.path / "data/action/c/0/.0.1234.partial").write_bytes(b"half")
    (demonstrations.path / "notes.txt").write_text("mine")
    assert len(Demonstrations.open(demonstrations.path)) == 6


def test_a_store_that_unpickles_is_not_opened(tmp_path):
    """A zarr 2 array of objects with the codec `pickle`, which numcodecs before 0.16.6 decodes."""
    import pickle

    class Hostile:
        def __reduce__(self):
            return (os.system, (f"touch {tmp_path / 'executed'}",))

    array = tmp_path / "d.zarr/meta/episode_ends"
    array.mkdir(parents=True)
    codecs = {"compressor": {"id": "pickle", "protocol": 4}, "filters": [{"id": "vlen-utf8"}]}
    (array / ".zarray").write_text(
        json.dumps(dict(zarr_format=2, shape=[1], chunks=[1], dtype="|O", fill_value="", order="C", **codecs))
    )
    (array / "0").write_bytes(pickle.dumps(Hostile()))
    for folder in (array.parent, array.parent.parent):
        (folder / ".zgroup").write_text('{"zarr_format": 2}')
    with pytest.raises(ValueError, match="not a zarr 3 store"):
        Demonstrations.open(tmp_path / "d.zarr")
    # In zarr 3 the codec may be named, too.
    group = zarr.open_group(tmp_path / "e.zarr", mode="w")
    group.create_array("meta/episode_ends", shape=(1,), dtype="int64")
    file = tmp_path / "e.zarr/meta/episode_ends/zarr.json"
    node = json.loads(file.read_text())
    node["codecs"][1] = {"name": "numcodecs.pickle", "configuration": {"protocol": 4}}
    file.write_text(json.dumps(node))
    with pytest.raises(ValueError, match=r"the codec 'numcodecs\.pickle' is not read"):
        Demonstrations.open(tmp_path / "e.zarr")
    assert not (tmp_path / "executed").exists()


def test_more_files_than_a_store_has_are_not_listed(demonstrations, monkeypatch):
    monkeypatch.setattr("paradp.policy.files.zarr_store.MOST_FILES", 20)
    with pytest.raises(ValueError, match="holds more than 20 files"):
        Demonstrations.open(demonstrations.path)


def test_files_are_opened_without_h5py_zarr_and_pyarrow():
    """They are imported only when such a file is opened, so a robot needs none of them."""
    program = (
        "import sys\n"
        "for name in ('h5py', 'zarr', 'pyarrow', 'numcodecs'): sys.modules[name] = None\n"
        "import paradp.policy.data.demonstrations, paradp.policy.learning.training, paradp.checkpoints\n"
        "import paradp.policy.files.hdf5, paradp.policy.files.tables, paradp.policy.files.zarr_store\n"
        "print('ok')"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "ok\n", done.stderr


def test_an_episode_that_is_appended_while_a_reader_opens_is_no_damage(tmp_path, info, monkeypatch):
    """A whole episode may be appended after the arrays are opened and before the ends are read."""
    written, _ = write(tmp_path / "d.zarr", info, KEYS)
    look = demonstrations.open_store

    def look_and_be_overtaken(path, mode):
        found = look(path, mode)
        values = {key: np.ones((4, size), np.float32) for key, size in written.info.observation.items()}
        written.append(DemonstrationEpisode(values, np.zeros((4, 2)), np.zeros((4, 2)), 3))
        return found

    monkeypatch.setattr(demonstrations, "open_store", look_and_be_overtaken)
    read = Demonstrations.open(tmp_path / "d.zarr")
    assert len(read) == 4 and joined(read.observations())[-1].tolist() == [1.0] * joined(read.observations()).shape[1]


def test_images_may_take_more_memory_than_vectors_but_not_any_amount():
    def claimed(steps: int) -> StoredArray:
        return StoredArray((steps, 84, 84, 3), (99, 84, 84, 3), "uint8", ("bytes", "zstd"))

    claimed(10_000_000).check()
    with pytest.raises(ValueError, match=r"it claims 2\.1e\+13 bytes of images, more than the 4\.4e\+12 that are read"):
        claimed(1_000_000_000).check()

"""LeRobotDataset v3 is read as LeRobot reads it, and exported data are read back bit by bit."""

import json
import pickle
import shutil
import sys
from pathlib import Path

import av
import numpy as np
import pyarrow.parquet as pq
import pytest
from lerobot_data_fixtures import FACTS, LENGTHS, READ, THEIRS, copied, demonstrations

from paradp.bridges.facts import read_facts
from paradp.bridges.importing import import_data
from paradp.bridges.lerobot_data.columns import Columns
from paradp.bridges.lerobot_data.frames import LeRobotFrames
from paradp.bridges.lerobot_data.pictures import Video
from paradp.bridges.lerobot_data.reading import LeRobotData
from paradp.bridges.lerobot_data.remarks import remarks
from paradp.bridges.lerobot_data.statistics import counted_levels, of_images, of_vectors
from paradp.bridges.lerobot_data.writing import export_lerobot
from paradp.policy.data.demonstrations import Demonstrations
from paradp.policy.data.windows import cut_windows
from paradp.policy.horizons import Horizons

# Of a video's values: decoders agree, and what makes RGB of them may round otherwise.
ROUNDING = 1


def test_every_frame_equals_what_lerobot_reads():
    read, theirs = LeRobotData.open(THEIRS, FACTS), np.load(READ)
    assert list(np.diff(read.episode_ends, prepend=0)) == list(LENGTHS)
    assert np.array_equal(np.repeat(np.arange(len(LENGTHS)), LENGTHS), theirs["episode_index"])
    found = {**read.observations(), "action": read.actions()}
    for key, values in found.items():
        expected = theirs[key]
        if values.ndim == 2:
            assert np.array_equal(values, expected.reshape(values.shape).astype(np.float32)), key
            continue
        assert values.shape[1:] == read.info.observation[key] == (64, 80, 3)
        difference = np.abs(values[:, ::4, ::4].astype(int) - expected)
        assert difference.max() <= (ROUNDING if key.endswith("top") else 0), key
    assert read.info.control_hz == 10 and read.info.action_convention == "as recorded"


def test_vectors_are_split_into_the_named_quantities():
    named = {"observation.state": {"hand": 2, "grip": 1}, "observation.force": "force", "observation.images.top": "camera"}
    read = LeRobotData.open(THEIRS, {**FACTS, "observation": named, "action": {"dx": 1, "dy": 1}})
    assert list(read.info.observation) == ["hand", "grip", "force", "camera"]
    assert read.info.action == {"dx": 1, "dy": 1}
    plain = LeRobotData.open(THEIRS, FACTS).observations()["observation.state"]
    found = read.observations()
    assert np.array_equal(np.concatenate([found["hand"], found["grip"]], 1), plain)
    assert found["hand"].flags.c_contiguous


def test_training_windows_are_cut_from_a_data_set():
    training, validation = cut_windows(LeRobotData.open(THEIRS, FACTS), Horizons(2, 4, 2), 4)
    assert len(training) + len(validation) == sum(LENGTHS)


def test_an_import_converts_episode_by_episode(tmp_path):
    read, done = LeRobotData.open(THEIRS, FACTS), []
    made = import_data(read, tmp_path / "demos.zarr", done.append)
    assert done == [1, 2, 3, 4]
    assert made.digest() == read.digest()
    with pytest.raises(ValueError, match="exists"):
        import_data(read, tmp_path / "demos.zarr")


def test_a_failed_import_leaves_no_files(tmp_path):
    folder = copied(tmp_path)
    (folder / "videos/observation.images.top/chunk-000/file-002.mp4").unlink()
    with pytest.raises(FileNotFoundError, match=r"file-002\.mp4"):
        import_data(LeRobotData.open(folder, FACTS), tmp_path / "demos.zarr")
    assert [path.name for path in tmp_path.iterdir()] == [folder.name]


def test_an_export_is_read_back_bit_by_bit(tmp_path):
    ours = demonstrations(tmp_path / "demos.zarr")
    export_lerobot(ours, tmp_path / "theirs", instruction="push it")
    again = LeRobotData.open(tmp_path / "theirs")
    assert again.digest() == ours.digest()
    for key, values in ours.observations().items():
        assert np.array_equal(again.observations()[key], values) and again.observations()[key].dtype == values.dtype
    kept = ("task", "action_convention", "observation", "action", "action_low", "action_high", "control_hz", "controller")
    assert all(getattr(again.info, name) == getattr(ours.info, name) for name in kept)
    assert not remarks(LeRobotFrames.open(tmp_path / "theirs"))


def test_the_files_are_those_that_lerobot_writes(tmp_path):
    """Every column has LeRobot's type, and `info.json` its keys."""
    export_lerobot(demonstrations(tmp_path / "demos.zarr"), tmp_path / "made")
    ours, theirs = (json.loads((folder / "meta/info.json").read_text()) for folder in (tmp_path / "made", THEIRS))
    assert ours.keys() == theirs.keys()
    for name in ("timestamp", "frame_index", "episode_index", "index", "task_index"):
        assert ours["features"][name] == theirs["features"][name]
    for name in ("data/chunk-000/file-000.parquet", "meta/episodes/chunk-000/file-000.parquet", "meta/tasks.parquet"):
        mine, other = (pq.read_schema(folder / name) for folder in (tmp_path / "made", THEIRS))
        shared = [field for field in other if field.name in mine.names and not field.name.startswith("stats/")]
        assert len(shared) >= 2
        for field in shared:
            kind = mine.field(field.name).type
            assert kind == field.type or (kind.value_type, field.type.value_type) == ("float",) * 2, field.name
    picture = pq.read_schema(tmp_path / "made/data/chunk-000/file-000.parquet").field("observation.images.camera").type
    assert picture == pq.read_schema(THEIRS / "data/chunk-000/file-000.parquet").field("observation.images.wrist").type


def test_the_facts_of_an_export_fit_a_checkpoint_trained_on_it(tmp_path):
    columns = export_lerobot(demonstrations(tmp_path / "demos.zarr"), tmp_path / "made")
    facts = read_facts(tmp_path / "made")
    assert (
        facts.observation
        == columns.observed()
        == {
            "observation.state": {"eef_pos": 3, "gripper": 1},
            "observation.environment_state": {"cube": 4},
            "observation.images.camera": "camera",
        }
    )
    facts.needed(tmp_path, 3)


def test_the_quantities_of_the_robots_state_can_be_selected():
    observation = {"a": 2, "b": 3, "c": (8, 8, 3)}
    columns = Columns.of(observation, {"go": 2}, ["b"])
    assert columns.vectors == {"observation.state": {"b": 3}, "observation.environment_state": {"a": 2}, "action": {"go": 2}}
    with pytest.raises(ValueError, match="name the observations that belong to it; there are a, b"):
        Columns.of(observation, {"go": 2})
    for wrong in ("c", "d"):
        with pytest.raises(ValueError, match=f"'{wrong}' is not an observed vector; there are a, b"):
            Columns.of(observation, {"go": 2}, [wrong])


def test_statistics_are_exact():
    rng = np.random.default_rng(0)
    values = rng.normal(size=(1000, 2)).astype(np.float32)
    found = of_vectors(values)
    assert np.array_equal(found["min"], values.min(0)) and np.allclose(found["std"], values.astype(float).std(0))
    assert found["count"] == [1000]
    images = rng.integers(3, 200, (20, 6, 5, 3), np.uint8)
    images[..., 1] = 7
    exact, found = images / 255, of_images(counted_levels(images), 20)
    for name, function in {"min": np.min, "max": np.max, "mean": np.mean, "std": np.std}.items():
        assert np.allclose(found[name][:, 0, 0], function(exact, axis=(0, 1, 2))), name
    for name, quantile in {"q10": 0.1, "q50": 0.5, "q99": 0.99}.items():
        expected = np.quantile(exact.reshape(-1, 3), quantile, axis=0, method="inverted_cdf")
        assert np.allclose(found[name][:, 0, 0], expected), name


def test_a_long_data_set_is_split_into_several_files(tmp_path, monkeypatch):
    monkeypatch.setattr("paradp.bridges.lerobot_data.layout.DATA_MB", 0.01)
    monkeypatch.setattr("paradp.bridges.lerobot_data.layout.FILES_A_CHUNK", 2)
    ours = demonstrations(tmp_path / "demos.zarr", (30, 3, 40, 2, 50))
    export_lerobot(ours, tmp_path / "made")
    files = sorted(str(path.relative_to(tmp_path / "made/data")) for path in (tmp_path / "made/data").rglob("*.parquet"))
    assert files == ["chunk-000/file-000.parquet", "chunk-000/file-001.parquet", "chunk-001/file-000.parquet"]
    assert LeRobotData.open(tmp_path / "made").digest() == ours.digest()


def test_a_failed_export_leaves_no_files(tmp_path, monkeypatch):
    ours = demonstrations(tmp_path / "demos.zarr")

    def full(path, tasks):
        raise OSError(28, "No space left on device", str(path))

    with monkeypatch.context() as patched:
        patched.setattr(sys.modules["paradp.bridges.lerobot_data.writing"], "write_tasks", full)
        with pytest.raises(OSError, match=r"No space left on device: '.*made'"):
            export_lerobot(ours, tmp_path / "made")
    assert [path.name for path in tmp_path.iterdir()] == ["demos.zarr"]
    (tmp_path / "made").mkdir()
    with pytest.raises(ValueError, match="exists; choose another --out"):
        export_lerobot(ours, tmp_path / "made")


def test_values_that_are_not_finite_are_not_exported(tmp_path):
    ours = demonstrations(tmp_path / "demos.zarr", spoilt=True)
    with pytest.raises(ValueError, match=r"observation.state holds numbers that are not finite"):
        export_lerobot(ours, tmp_path / "made")
    assert not (tmp_path / "made").exists()


def test_empty_demonstrations_are_not_exported(tmp_path):
    with pytest.raises(ValueError, match="holds no episodes"):
        export_lerobot(demonstrations(tmp_path / "demos.zarr", ()), tmp_path / "made")


def test_wrong_statistics_are_reported(tmp_path):
    folder = copied(tmp_path)
    stored = json.loads((folder / "meta/stats.json").read_text())
    stored["observation.state"]["max"][1] += 1
    (folder / "meta/stats.json").write_text(json.dumps(stored))
    assert remarks(LeRobotFrames.open(folder)) == [
        "meta/stats.json gives another max of observation.state than its frames have"
    ]
    (folder / "meta/stats.json").unlink()
    assert remarks(LeRobotFrames.open(folder)) == ["there is no meta/stats.json, which LeRobot normalises with"]


def test_black_and_frozen_cameras_are_reported(tmp_path):
    export_lerobot(demonstrations(tmp_path / "demos.zarr", (4, 3), frozen=True), tmp_path / "made")
    found = remarks(LeRobotFrames.open(tmp_path / "made"))
    assert found == ["camera: 3 of 7 frames are black", "camera: the camera stands still in 2 of 2 episodes"]


def test_the_episodes_may_be_in_several_tables(tmp_path):
    folder = copied(tmp_path)
    path = folder / "meta/episodes/chunk-000/file-000.parquet"
    table = pq.read_table(path)
    pq.write_table(table.slice(0, 3), path)
    pq.write_table(table.slice(3), path.with_name("file-001.parquet"))
    assert LeRobotData.open(folder, FACTS).digest() == LeRobotData.open(THEIRS, FACTS).digest()


def test_demonstrations_are_equal_after_export_and_import(tmp_path):
    """After export and import, except for the executed actions, which LeRobot does not store."""
    ours = demonstrations(tmp_path / "demos.zarr")
    export_lerobot(ours, tmp_path / "made")
    again = import_data(LeRobotData.open(tmp_path / "made"), tmp_path / "again.zarr")
    assert isinstance(again, Demonstrations) and again.digest() == ours.digest()


def old_layout(folder: Path, out: Path, version: str) -> Path:
    """Converts a data set from version 3 to 2: a table and a video for each episode, and episodes in lines of JSON."""
    described = json.loads((folder / "meta/info.json").read_text())
    described |= {
        "codebase_version": version,
        "chunks_size": 1000,
        "data_path": "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet",
        "video_path": "videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4",
    }
    (out / "meta").mkdir(parents=True)
    (out / "data/chunk-000").mkdir(parents=True)
    (out / "videos/chunk-000/observation.images.top").mkdir(parents=True)
    (out / "meta/info.json").write_text(json.dumps(described))
    lines = [json.dumps({"episode_index": i, "tasks": ["reach"], "length": n}) for i, n in enumerate(LENGTHS)]
    (out / "meta/episodes.jsonl").write_text("\n".join(lines) + "\n")
    frames = LeRobotData.open(folder, FACTS).observations()["observation.images.top"]
    for row in pq.read_table(folder / "meta/episodes/chunk-000/file-000.parquet").to_pylist():
        i, begin, end = (row[name] for name in ("episode_index", "dataset_from_index", "dataset_to_index"))
        table = pq.read_table(folder / f"data/chunk-000/file-{row['data/file_index']:03d}.parquet")
        part = table.slice(begin - table["index"][0].as_py(), end - begin)
        pq.write_table(part, out / f"data/chunk-000/episode_{i:06d}.parquet")
        write_video(out / f"videos/chunk-000/observation.images.top/episode_{i:06d}.mp4", frames[begin:end])
    return out


def write_video(path: Path, frames: np.ndarray) -> None:
    """Without loss, ten frames a second."""
    with av.open(str(path), "w") as video:
        stream = video.add_stream("libx264rgb", rate=10, options={"qp": "0"})
        stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], "rgb24"
        for frame in frames:
            video.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        video.mux(stream.encode())


@pytest.mark.parametrize("version", ["v2.0", "v2.1"])
def test_an_older_version_is_read_to_the_same_frames(version, tmp_path):
    old = LeRobotData.open(old_layout(THEIRS, tmp_path / "old", version), FACTS)
    new = LeRobotData.open(THEIRS, FACTS)
    assert list(old.episode_ends) == list(new.episode_ends) and old.digest() == new.digest()
    assert import_data(old, tmp_path / "demos.zarr").digest() == new.digest()
    (tmp_path / "old/meta/episodes.jsonl").write_text('{"episode_index": 0, "length": 5}\n')
    with pytest.raises(
        ValueError, match=r"episodes\.jsonl lists 1 episodes with 5 frames, and meta/info\.json says 4 with 17"
    ):
        LeRobotData.open(tmp_path / "old", FACTS)
    shutil.rmtree(tmp_path / "old")


def test_frames_are_read_in_any_order():
    """Parts of episodes, backwards, and after pickling, as the workers of a training read them."""
    read = LeRobotData.open(THEIRS, FACTS)
    expected, images = read.observations(), pickle.loads(pickle.dumps(read.images()))
    for begin, end in ((9, 15), (0, 3), (3, 9), (16, 17), (4, 6)):
        out = {name: np.empty((end - begin, *shape), np.uint8) for name, shape in images.shapes.items()}
        images.fill(begin, end, out)
        assert all(np.array_equal(values, expected[name][begin:end]) for name, values in out.items()), (begin, end)
    # One after another, each from the last frame of the one before on, as blocks of a training overlap.
    for begin in range(0, 14, 2):
        out = {name: np.empty((3, *shape), np.uint8) for name, shape in images.shapes.items()}
        images.fill(begin, begin + 3, out)
        assert all(np.array_equal(values, expected[name][begin : begin + 3]) for name, values in out.items()), begin
    images.close()


def test_a_frame_is_found_again_however_its_time_is_rounded():
    video = Video(THEIRS / "videos/observation.images.top/chunk-000/file-001.mp4", (64, 80, 3), 10, THEIRS)
    first, again = np.empty((3, 64, 80, 3), np.uint8), np.empty((1, 64, 80, 3), np.uint8)
    video.fill(0.1, first)
    video.fill(np.nextafter(0.3, 1), again)
    assert np.array_equal(again[0], first[2])
    video.close()

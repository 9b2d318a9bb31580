"""Damaged or unsupported data sets of LeRobot: one sentence names the problem, and no partial import remains."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from lerobot_data_fixtures import FACTS, copied

from paradp.bridges.lerobot_data.description import Description, Stored
from paradp.bridges.lerobot_data.episodes import read_episodes
from paradp.bridges.lerobot_data.pictures import Video
from paradp.bridges.lerobot_data.reading import LeRobotData
from paradp.bridges.lerobot_data.tables import png
from paradp.policy.files.pictures import decoded
from paradp.scripts.main import main

DATA = "data/chunk-000/file-001.parquet"
EPISODES = "meta/episodes/chunk-000/file-000.parquet"
BEGIN = "videos/observation.images.top/from_timestamp"
VIDEO = "videos/observation.images.top/chunk-000/file-001.mp4"
SHAPE = (64, 80, 3)
WRIST = "observation.images.wrist"
Spoil = Callable[[Path], None]


def described(**changes) -> Spoil:
    """Changes entries of `info.json`; `None` removes one."""

    def spoil(folder: Path) -> None:
        path = folder / "meta/info.json"
        content = json.loads(path.read_text())
        for name, value in changes.items():
            content[name] = value
            if value is None:
                del content[name]
        path.write_text(json.dumps(content))

    return spoil


def feature(key: str, **changes) -> Spoil:
    """Changes the description of a feature in `info.json`."""

    def spoil(folder: Path) -> None:
        path = folder / "meta/info.json"
        content = json.loads(path.read_text())
        content["features"].setdefault(key, {}).update(changes)
        path.write_text(json.dumps(content))

    return spoil


def column(file: str, name: str, change: Callable[[list], list] | None) -> Spoil:
    """Changes a column of a table, or removes it."""

    def spoil(folder: Path) -> None:
        table = pq.read_table(folder / file)
        at = table.column_names.index(name)
        kind = table.field(name).type
        table, values = table.remove_column(at), table.column(name).to_pylist()
        if change is not None:
            changed = change(values)
            lists = isinstance(changed[0], list) and len({len(one) for one in changed}) > 1
            table = table.add_column(at, name, pa.array(changed, pa.list_(pa.float32()) if lists else kind))
        pq.write_table(table, folder / file)

    return spoil


def cut(file: str) -> Spoil:
    """Truncates a file."""
    return lambda folder: os.truncate(folder / file, (folder / file).stat().st_size // 2)


def removed(file: str) -> Spoil:
    return lambda folder: (folder / file).unlink()


def compressed(folder: Path) -> None:
    pq.write_table(pq.read_table(folder / DATA), folder / DATA, compression="zstd")


def linked(folder: Path) -> None:
    (folder / DATA).rename(folder.parent / "elsewhere.parquet")
    (folder / DATA).symlink_to(folder.parent / "elsewhere.parquet")


def swapped(folder: Path) -> None:
    """Replaces a camera's video by a shorter one of other episodes."""
    videos = folder / "videos/observation.images.top/chunk-000"
    (videos / "file-001.mp4").write_bytes((videos / "file-000.mp4").read_bytes())


def blind(folder: Path) -> None:
    """Removes the descriptions of the cameras, so that they are not read."""
    path = folder / "meta/info.json"
    content = json.loads(path.read_text())
    content["features"] = {key: one for key, one in content["features"].items() if "images" not in key}
    path.write_text(json.dumps(content))


def first(value) -> Callable[[list], list]:
    """Changes the first row."""
    return lambda values: [value, *values[1:]]


OTHER_SIZE = {"bytes": png(np.zeros((80, 64, 3), np.uint8)), "path": "frame.png"}
SPOILT: dict[str, tuple[Spoil, str]] = {
    "an older version": (
        described(codebase_version="v1.6"),
        r"version v1\.6; v2\.0, v2\.1 and v3 are read; LeRobot converts older ones",
    ),
    "the layout of another version": (described(codebase_version="v2.1"), "its files have other names than LeRobot"),
    "a newer version": (described(codebase_version="v4.0"), r"version v4\.0; v2\.0, v2\.1 and v3 are read"),
    "no version": (described(codebase_version=None), "does not say its codebase_version"),
    "no rate": (described(fps=None), "whole number of frames a second, not None"),
    "half a frame": (described(fps=9.5), r"whole number of frames a second, not 9\.5"),
    "no features": (described(features=None), "describes no features"),
    "other files": (described(data_path="{chunk_index.__class__}"), "other names than LeRobot gives"),
    "another count": (described(total_episodes=5), r"holds 4 episodes, and meta/info\.json says 5"),
    "another count of frames": (described(total_frames=18), r"have 17 frames, and meta/info\.json says 18"),
    "a text observed": (feature("observation.words", dtype="string", shape=[1]), r"observation\.words holds string"),
    "a matrix observed": (feature("observation.state", shape=[3, 1]), r"observation\.state is not a vector"),
    "a vast vector": (feature("observation.state", shape=[10**9]), r"length of observation\.state must be from 1 to"),
    "a vast picture": (feature(WRIST, shape=[4000, 4000, 3]), r"size of observation\.images\.wrist must be from 1 to"),
    "pictures of two channels": (feature(WRIST, shape=[64, 80, 2]), "has 2 channels"),
    "depths": (feature("observation.images.top", info={"is_depth_map": True}), "holds depths, which are not read"),
    "another length": (feature("observation.state", shape=[4]), r"does not have 4 numbers a frame, as meta/info\.json says"),
    "channels first": (
        feature(WRIST, shape=[64, 3, 80], names=["height", "channels", "width"]),
        "has 80 channels",
    ),
    "height and width confused": (feature(WRIST, shape=[80, 64, 3]), "it is 80 × 64 pixels, not 64 × 80"),
    "a missing camera": (
        feature("observation.images.left", dtype="image", shape=[8, 8, 3]),
        r"no column 'observation\.images\.l",
    ),
    "a missing vector": (
        feature("observation.torque", dtype="float32", shape=[2]),
        r"lacks the column 'observation\.torque'",
    ),
    "a missing action": (column(DATA, "action", None), "lacks the column 'action'"),
    "no index": (column(DATA, "index", None), "lacks the column 'index'"),
    "no table of episodes": (removed(EPISODES), "holds no tables of episodes"),
    "episodes without ends": (column(EPISODES, "dataset_to_index", None), "lacks the column 'dataset_to_index'"),
    "episodes out of order": (
        column(EPISODES, "episode_index", lambda all: [0, 2, 1, 3]),
        "number 2 stands in the place of 1",
    ),
    "a gap": (column(EPISODES, "dataset_from_index", lambda all: [0, 5, 7, 13]), "episode 2 has the frames from 7 to 13"),
    "an empty episode": (
        column(EPISODES, "dataset_to_index", lambda all: [5, 5, 13, 17]),
        "episode 1 has the frames from 5 to 5",
    ),
    "a video without end": (
        column(EPISODES, BEGIN, first(float("inf"))),
        r"episode 0 begins inf seconds into its video: videos/observation\.images\.top/from_timestamp",
    ),
    "a video of an age": (column(EPISODES, BEGIN, first(1e300)), r"episode 0 begins 1e\+300 seconds into its video"),
    "a video without a begin": (column(EPISODES, BEGIN, first(float("nan"))), "episode 0 begins nan seconds into its video"),
    "a video before its begin": (column(EPISODES, BEGIN, first(-1.0)), r"episode 0 begins -1\.0 seconds into its video"),
    "frames out of order": (column(DATA, "index", lambda all: all[::-1]), "not in the order of their index"),
    "frames of another episode": (column(DATA, "episode_index", lambda all: [9] * len(all)), "belong to other episodes"),
    "another rate": (column(DATA, "timestamp", lambda all: [2 * one for one in all]), "did not come 10 times a second"),
    "times that are none": (column(DATA, "timestamp", first(float("nan"))), "did not come 10 times a second"),
    "not a number": (
        column(DATA, "observation.state", first([0, float("nan"), 0])),
        "is not finite in frame 0 of episode 2",
    ),
    "too large a number": (column(DATA, "observation.force", first(1e300)), "is not finite in frame 0 of episode 2"),
    "an empty cell": (column(DATA, "observation.force", first(None)), r"empty cells in 'observation\.force'"),
    "lists of several lengths": (column(DATA, "action", first([0.0])), "lists of 1 and of 2 numbers in 'action'"),
    "an empty picture": (column(DATA, WRIST, first(None)), "empty cell, or one that is too large"),
    "a picture that is none": (
        column(DATA, WRIST, first({"bytes": b"GIF89a", "path": None})),
        "it is not a readable PNG or JPEG",
    ),
    "a picture of another size": (column(DATA, WRIST, first(OTHER_SIZE)), "it is 64 × 80 pixels, not 80 × 64"),
    "frames cut short": (cut(DATA), r"file-001\.parquet is not a readable table, or is cut short"),
    "episodes cut short": (cut(EPISODES), "is not a readable table, or is cut short"),
    "a video cut short": (cut(VIDEO), r"file-001\.mp4 is not a readable video|file-001\.mp4 cannot be read"),
    "a video that ends early": (swapped, r"file-001\.mp4 cannot be read: it ends before 0\.[0-9]+ s"),
    "another compression": (compressed, "compressed by ZSTD; write it with snappy"),
    "a link out of the folder": (linked, "leads out of the folder"),
}


@pytest.mark.parametrize("name", SPOILT)
def test_damaged_data_sets_are_refused_by_name(name, tmp_path):
    spoil, message = SPOILT[name]
    folder = copied(tmp_path)
    spoil(folder)
    with pytest.raises(ValueError, match=message) as refused:
        LeRobotData.open(folder, FACTS).observations()
    assert str(folder) in str(refused.value)


def test_an_error_names_missing_files(tmp_path):
    folder = copied(tmp_path)
    (folder / VIDEO).unlink()
    with pytest.raises(FileNotFoundError, match=r"file-001\.mp4"):
        LeRobotData.open(folder, FACTS).observations()


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({}, "does not say its task, action_low, action_high: write them into"),
        ({**FACTS, "action_low": (0,)}, "action_low has 1 value, an action has 2"),
        ({**FACTS, "control_hz": 20}, r"says control_hz: 20, and its frames come 10 times a second"),
        ({**FACTS, "action": {"x": 3}}, "the parts of the action, .*, must have 2 numbers in total"),
        ({**FACTS, "observation": {"observation.state": {"x": 2}}}, "must have 3 numbers in total"),
        ({**FACTS, "observation": {"observation.images.top": {"x": 2}}}, "is an image, which has one name"),
        ({**FACTS, "observation": {"observation.eye": "x"}}, r"has no observed feature 'observation\.eye'"),
        ({**FACTS, "observation": {"observation.force": "top", "observation.images.top": "top"}}, "'top' twice"),
    ],
)
def test_facts_that_do_not_fit_are_refused(facts, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        LeRobotData.open(copied(tmp_path), facts)


def test_images_that_do_not_fit_into_memory_are_refused_before_they_are_read(tmp_path, monkeypatch):
    monkeypatch.setattr("paradp.policy.files.memory.available", lambda: 1000)
    with pytest.raises(ValueError, match=r"GiB of memory, and this machine has 0\.00 GiB free"):
        LeRobotData.open(copied(tmp_path), FACTS).observations()


def test_a_picture_is_decoded_only_after_its_size_is_checked():
    """A PNG of a few bytes can claim any size."""
    small = png(np.zeros((8, 8, 3), np.uint8))
    width = small.index(b"IHDR") + 4
    claimed = small[:width] + (60_000).to_bytes(4, "big") * 2 + small[width + 8 :]
    with pytest.raises(ValueError, match=r"pixels|not a readable PNG or JPEG"):
        decoded(claimed, (8, 8, 3))


def test_a_missing_frame_is_named(tmp_path):
    video = Video(copied(tmp_path) / VIDEO, SHAPE, 10, tmp_path)
    with pytest.raises(ValueError, match=r"file-001\.mp4 cannot be read: it has no frame at 0\.050 s"):
        video.fill(0.05, np.empty((1, *SHAPE), np.uint8))
    video.close()
    with pytest.raises(ValueError, match="is 80 × 64 pixels, and should be 64 × 80"):
        Video(video.path, (80, 64, 3), 10, tmp_path)


@pytest.mark.parametrize("command", ["import", "inspect", "train"])
def test_a_command_ends_in_one_sentence_and_writes_nothing(command, tmp_path, monkeypatch, capsys):
    folder = copied(tmp_path)
    (folder / "paradp.yaml").write_text("task: pusht\naction_low: [-1, -1]\naction_high: [1, 1]\n")
    blind(folder)
    cut(DATA)(folder)
    arguments = {
        "import": ["data", "import", str(folder), "--out", str(tmp_path / "made.zarr")],
        "inspect": ["data", "inspect", str(folder)],
        "train": ["train", "pusht", "--data", str(folder), "--out", str(tmp_path / "made")],
    }
    monkeypatch.setattr("sys.argv", ["paradp", *arguments[command]])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    [line] = [line for line in capsys.readouterr().err.splitlines() if line.startswith("paradp: ")]
    assert "file-001.parquet is not a readable table, or is cut short" in line
    assert [path.name for path in tmp_path.iterdir() if not path.name.startswith(".")] == [folder.name]


def old_episodes(folder: Path, content: str, episodes: int) -> Description:
    """The description of a data set of version 2.1 with such a list of episodes, each of five frames."""
    (folder / "meta").mkdir(parents=True, exist_ok=True)
    (folder / "meta/episodes.jsonl").write_text(content, newline="")
    features = {"action": Stored("vector", (2,)), "observation.state": Stored("vector", (3,))}
    return Description(folder, 10, features, episodes, 5 * episodes, "v2.1", 1000)


def test_a_line_of_an_older_version_ends_only_at_a_newline(tmp_path):
    """The instruction may contain other line separators."""
    lines = [
        json.dumps({"episode_index": i, "tasks": [f"lift{sign}it"], "length": 5}, ensure_ascii=False)
        for i, sign in enumerate("\u2028\u2029\x85é")
    ]
    for end in ("\n", "\r\n"):
        for content in (end.join(lines), end.join(lines) + end):
            assert [place.end for place in read_episodes(old_episodes(tmp_path, content, 4))] == [5, 10, 15, 20]
    with pytest.raises(ValueError, match=r"episodes\.jsonl cannot be read: line 2"):
        read_episodes(old_episodes(tmp_path, lines[0] + "\n\n" + lines[1], 2))


def test_the_lines_of_an_older_version_are_limited(tmp_path, monkeypatch):
    monkeypatch.setattr("paradp.bridges.lerobot_data.episodes.MOST_EPISODES", 3)
    content = "".join(json.dumps({"episode_index": i, "length": 5}) + "\n" for i in range(4))
    with pytest.raises(ValueError, match="lists 4 episodes"):
        read_episodes(old_episodes(tmp_path, content + "no JSON", 4))

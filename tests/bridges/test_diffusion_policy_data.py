"""Diffusion Policy's data sets in zarr's format 2 are read bit by bit; an error names what is not supported."""

import io
import json
from collections.abc import Callable
from pathlib import Path

import numcodecs
import numpy as np
import pytest
import zarr
from PIL import Image

from paradp.bridges.diffusion_policy_data import DiffusionPolicyData, is_diffusion_policy
from paradp.bridges.importing import import_data
from paradp.policy.data.dataset import StreamedDataset
from paradp.policy.data.windows import cut_windows
from paradp.policy.files import memory
from paradp.policy.horizons import Horizons
from paradp.scripts.inspecting import inspect
from paradp.scripts.main import main

FACTS = {"task": "pusht", "control_hz": 10, "action_low": (-9, -9), "action_high": (9, 9)}
ENDS = (5, 6, 23)
STEPS, HEIGHT, WIDTH = ENDS[-1], 12, 16


def put(root: Path, name: str, values: np.ndarray, chunks: tuple[int, ...], compressor=None) -> None:
    """Writes an array with zarr's own writer of the format 2."""
    group = zarr.open_group(root, mode="a", zarr_format=2)
    if name in group:
        del group[name]
    made = group.create_array(name, shape=values.shape, chunks=chunks, dtype=values.dtype, compressors=compressor)
    with zarr.config.set({"array.write_empty_chunks": True}):
        made[:] = values


@pytest.fixture
def written(tmp_path) -> Path:
    """Like `pusht_cchi_v7_replay.zarr`, whose images are float32, and a camera in uint8; every compressor is used."""
    root, rng = tmp_path / "replay.zarr", np.random.default_rng(0)
    images = rng.integers(0, 256, (STEPS, HEIGHT, WIDTH, 3), np.uint8)
    put(root, "data/img", images.astype(np.float32), (5, HEIGHT, WIDTH, 3), numcodecs.Blosc("lz4"))
    put(root, "data/camera", images[::-1], (7, 5, WIDTH, 3), numcodecs.Blosc("zstd", shuffle=2))
    put(root, "data/state", rng.normal(size=(STEPS, 5)), (7, 5), numcodecs.Zlib())
    put(root, "data/keypoint", rng.normal(size=(STEPS, 9, 2)).astype(np.float32), (7, 9, 2), numcodecs.Zstd())
    put(root, "data/n_contacts", rng.normal(size=(STEPS, 1)).astype(np.float32), (7, 1), numcodecs.LZ4())
    put(root, "data/action", rng.normal(size=(STEPS, 2)).astype(np.float32), (7, 2))
    put(root, "meta/episode_ends", np.array(ENDS), (3,), numcodecs.GZip())
    return root


def test_every_array_equals_what_zarr_reads(written):
    read, theirs = DiffusionPolicyData.open(written, FACTS), zarr.open_group(written, mode="r", zarr_format=2)
    assert isinstance(read, StreamedDataset) and is_diffusion_policy(written)
    assert list(read.info.observation) == ["camera", "img", "keypoint", "n_contacts", "state"]
    assert read.info.observation["img"] == (HEIGHT, WIDTH, 3) and read.info.observation["keypoint"] == 18
    for key, values in {**read.observations(), "action": read.actions()}.items():
        expected = theirs[f"data/{key}"][:]
        assert values.dtype == (np.uint8 if values.ndim == 4 else np.float32)
        assert np.array_equal(values, expected.reshape(values.shape).astype(values.dtype)), key
    assert tuple(read.episode_ends) == ENDS
    part = {"img": np.empty((9, HEIGHT, WIDTH, 3), np.uint8), "camera": np.empty((9, HEIGHT, WIDTH, 3), np.uint8)}
    read.images().fill(4, 13, part)
    assert all(np.array_equal(part[key], theirs[f"data/{key}"][4:13]) for key in part)


def test_recorded_times_are_no_observation_and_keep_their_precision(written, capsys):
    """Unix times of a robot at 10 Hz that rests, with a gap: in single precision all of them would be equal."""
    times = 1_764_000_000 + np.arange(STEPS) / 10
    times[15:] += 5
    put(written, "data/timestamp", times, (7,))
    for name, size in (("state", 5), ("keypoint", 18), ("n_contacts", 1)):
        put(written, f"data/{name}", np.ones((STEPS, size)), (7, size))
    put(written, "data/camera", np.full((STEPS, HEIGHT, WIDTH, 3), 7, np.uint8), (7, HEIGHT, WIDTH, 3))
    read = DiffusionPolicyData.open(written, FACTS)
    assert "timestamp" not in read.info.observation
    assert np.array_equal(read.times(), times)
    inspect(written)
    said = " ".join(capsys.readouterr().out.split())
    assert "timestamp: dropped frames: 1 step took more than 1.5 times as long as usual, the first in episode 2" in said
    assert "though the robot moves" not in said
    named = DiffusionPolicyData.open(written, FACTS | {"observation": {"state": "state", "timestamp": "time"}})
    assert [*named.info.observation] == ["state", "time"]


def test_a_data_set_is_trained_on_and_imported(written, tmp_path):
    facts = FACTS | {"observation": {"img": "image", "state": {"agent_pos": 2, "block_pos": 2, "angle": 1}}}
    read = DiffusionPolicyData.open(written, facts)
    training, validation = cut_windows(read, Horizons(2, 4, 2), 3)
    assert len(training) + len(validation) == STEPS
    made = import_data(read, tmp_path / "demos.zarr")
    assert made.digest() == read.digest() and tuple(made.episode_ends) == ENDS
    assert made.info.observation == {"image": (HEIGHT, WIDTH, 3), "agent_pos": 2, "block_pos": 2, "angle": 1}


def test_images_as_jpeg_2000_are_read(written):
    """One file per chunk, as `imagecodecs_jpeg2k` stores them; an image of another size is refused."""
    folder = written / "data/camera"
    pixels = np.random.default_rng(1).integers(0, 256, (STEPS, HEIGHT, WIDTH, 3), np.uint8)
    described = json.loads((folder / ".zarray").read_text())
    described |= {"chunks": [1, HEIGHT, WIDTH, 3], "compressor": {"id": "imagecodecs_jpeg2k", "level": None}}
    (folder / ".zarray").write_text(json.dumps(described))
    for step, image in enumerate(pixels):
        stream = io.BytesIO()
        Image.fromarray(image).save(stream, "JPEG2000", irreversible=False)
        (folder / f"{step}.0.0.0").write_bytes(stream.getvalue())
    assert np.array_equal(DiffusionPolicyData.open(written, FACTS, keys=["camera"]).observations()["camera"], pixels)
    stream = io.BytesIO()
    Image.new("RGB", (WIDTH, 2 * HEIGHT)).save(stream, "JPEG2000")
    (folder / "3.0.0.0").write_bytes(stream.getvalue())
    with pytest.raises(ValueError, match=r"3\.0\.0\.0 is damaged: it is 16 × 24 pixels"):
        DiffusionPolicyData.open(written, FACTS, keys=["camera"]).observations()


def codec(root: Path) -> None:
    described = json.loads((root / "data/camera/.zarray").read_text())
    (root / "data/camera/.zarray").write_text(json.dumps(described | {"compressor": {"id": "imagecodecs_jpegxl"}}))


def objects(root: Path) -> None:
    described = json.loads((root / "data/camera/.zarray").read_text())
    changed = {"dtype": "|O", "filters": [{"id": "pickle"}]}
    (root / "data/camera/.zarray").write_text(json.dumps(described | changed))


def lying(root: Path) -> None:
    """A chunk of Blosc declares 3 GB."""
    path = root / "data/img/0.0.0.0"
    content = bytearray(path.read_bytes())
    content[4:8] = (3 * 10**9).to_bytes(4, "little")
    path.write_bytes(content)


def blosc_cut(root: Path) -> None:
    path = root / "data/img/1.0.0.0"
    path.write_bytes(path.read_bytes()[:-9])


def bomb(root: Path) -> None:
    """JPEG 2000 that claims 30 000 by 30 000 pixels."""
    folder = root / "data/camera"
    described = json.loads((folder / ".zarray").read_text())
    described |= {"chunks": [1, HEIGHT, WIDTH, 3], "compressor": {"id": "imagecodecs_jpeg2k"}}
    (folder / ".zarray").write_text(json.dumps(described))
    stream = io.BytesIO()
    Image.new("RGB", (WIDTH, HEIGHT)).save(stream, "JPEG2000")
    content = stream.getvalue()
    at = content.index(b"ihdr") + 4
    for step in range(STEPS):
        (folder / f"{step}.0.0.0").write_bytes(content[:at] + (30_000).to_bytes(4, "big") * 2 + content[at + 8 :])


def a_type(name: str) -> Callable[[Path], None]:
    def spoil(root: Path) -> None:
        described = json.loads((root / "data/state/.zarray").read_text())
        (root / "data/state/.zarray").write_text(json.dumps(described | {"dtype": name}))

    return spoil


IMAGES = np.zeros((STEPS, HEIGHT, WIDTH, 3), np.float32)
SPOILT = {
    "another codec": (codec, r"compressed by 'imagecodecs_jpegxl', which is not read; these are: blosc, zstd"),
    "objects": (objects, r"objects, pickled or not, are never read"),
    "a vast picture": (bomb, r"0\.0\.0\.0 is damaged: it is not a readable JPEG2000: Image size \(900000000 pixels\)"),
    "a type with an empty shape": (a_type("(,)f4"), r"data/state: '\(,\)f4' is not a number type"),
    "a type with a shape": (a_type("(2,)f4"), r"data/state: '\(2,\)f4' is not a number type"),
    "a type that is none": (a_type("<f3"), r"data/state: '<f3' is not a number type"),
    "a size that is not there": (lying, r"0\.0\.0\.0 is damaged: it declares 3000000000 bytes"),
    "a chunk cut short": (blosc_cut, r"1\.0\.0\.0 is damaged"),
    "a lost chunk": (lambda root: (root / "data/img/2.0.0.0").unlink(), r"data/img lacks the chunk 2\.0\.0\.0"),
    "no ends": (lambda root: put(root, "meta/episode_ends", np.array([5, 5, 23]), (3,)), "ends of the episodes do not incr"),
    "longer": (
        lambda root: put(root, "data/state", np.zeros((30, 5)), (30, 5)),
        "data/state has 30 steps, and its episodes",
    ),
    "floats from 0 to 1": (
        lambda root: put(root, "data/img", IMAGES + 0.5, (5, HEIGHT, WIDTH, 3)),
        r"data/img holds float images from 0\.5 to 0\.5; images are read as uint8",
    ),
    "channels first": (
        lambda root: put(root, "data/img", IMAGES.transpose(0, 3, 1, 2).astype(np.uint8), (5, 3, HEIGHT, WIDTH)),
        r"data/img has its channels first \(shape \(23, 3, 12, 16\)\)",
    ),
    "depth beside colour": (
        lambda root: put(root, "data/img", np.zeros((STEPS, HEIGHT, WIDTH, 4), np.uint8), (5, HEIGHT, WIDTH, 4)),
        r"data/img has 4 channels",
    ),
    "not finite": (
        lambda root: put(root, "data/state", np.full((STEPS, 5), np.nan), (7, 5)),
        r"data/state is not finite in step 0",
    ),
    "no action": (lambda root: (root / "data/action/.zarray").unlink(), "lacks the array data/action; it has: camera, img"),
}


@pytest.mark.parametrize("what", SPOILT)
def test_damaged_data_sets_are_refused_by_name_and_leave_no_files(what, written, tmp_path):
    spoil, message = SPOILT[what]
    spoil(written)
    with pytest.raises(ValueError, match=message):
        import_data(DiffusionPolicyData.open(written, FACTS), tmp_path / "demos.zarr")
    assert [path.name for path in tmp_path.iterdir()] == [written.name]


@pytest.fixture
def constant(tmp_path, monkeypatch) -> Path:
    """Eight vectors and a camera, compressed at least a hundred times. Half a megabyte is free."""
    root, zstd = tmp_path / "constant.zarr", numcodecs.Zstd()
    for i in range(8):
        put(root, f"data/{i}", np.ones((48, 1024)), (48, 1024), zstd)
    put(root, "data/action", np.ones((48, 2)), (48, 2))
    images = np.ones((48, 128, 128, 1), np.uint8)
    images[:, 0] = np.random.default_rng(2).integers(1, 256, (48, 128, 1), np.uint8)
    put(root, "data/img", images, (1, 128, 128, 1), zstd)
    put(root, "meta/episode_ends", np.array([48]), (1,))
    for module in ("limits", "zarr2"):
        monkeypatch.setattr(f"paradp.policy.files.{module}.EXPANSION_FREE", 2**19)
    return root


def test_small_files_cannot_claim_much_memory_in_total(constant, monkeypatch):
    assert DiffusionPolicyData.open(constant, FACTS, keys=["0"]).vectors()["0"].shape == (48, 1024)
    with pytest.raises(ValueError, match=r"constant\.zarr: it claims to hold 3\.1e\+06 bytes in [0-9.e+]+ bytes on disk"):
        DiffusionPolicyData.open(constant, FACTS, keys=[*map(str, range(8))])
    monkeypatch.setattr("paradp.policy.files.limits.MOST_NUMBERS", 50_000)
    with pytest.raises(ValueError, match=r"constant\.zarr claims to hold 9\.8e\+04 numbers"):
        DiffusionPolicyData.open(constant, FACTS, keys=["0", "1"])


def test_a_hard_linked_chunk_counts_once(constant):
    assert DiffusionPolicyData.open(constant, FACTS, keys=["img"]).observations()["img"].all()
    for step in range(1, 48):
        (constant / f"data/img/{step}.0.0.0").unlink()
        (constant / f"data/img/{step}.0.0.0").hardlink_to(constant / "data/img/0.0.0.0")
    with pytest.raises(ValueError, match=r"data/img: it claims to hold 7\.9e\+05 bytes in [0-9.e+]+ bytes on disk"):
        DiffusionPolicyData.open(constant, FACTS, keys=["img"])


def test_a_missing_chunk_is_found_when_sizes_are_compared(constant):
    (constant / "data/img/0.0.0.0").unlink()
    with pytest.raises(ValueError, match=r"data/img lacks the chunk 0\.0\.0\.0"):
        DiffusionPolicyData.open(constant, FACTS, keys=["img"])


def test_an_error_names_missing_facts(written):
    with pytest.raises(
        ValueError, match=r"does not say its action_low, action_high, control_hz: write them into .*paradp\.yaml"
    ):
        assert DiffusionPolicyData.open(written, {"task": "pusht"}).info


def test_an_episode_that_does_not_fit_into_memory_is_refused(written, tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "available", lambda: 9_000)
    with pytest.raises(ValueError, match=r"the images of episode 2 of .*replay\.zarr take .* GiB of memory"):
        import_data(DiffusionPolicyData.open(written, FACTS, keys=["img"]), tmp_path / "demos.zarr")
    assert [path.name for path in tmp_path.iterdir()] == [written.name]


def test_the_command_imports_selected_arrays(written, tmp_path, monkeypatch, capsys):
    (written / "paradp.yaml").write_text(
        "task: pusht\ncontrol_hz: 10\naction_low: [-9, -9]\naction_high: [9, 9]\nobservation: {img: image, state: agent}\n"
    )
    out = tmp_path / "demos.zarr"
    monkeypatch.setattr("sys.argv", ["paradp", "data", "import", str(written), "--keys", "img", "--out", str(out)])
    main()
    said = capsys.readouterr().out
    assert "3 episodes, 23 steps of pusht" in said and "1 episode with one step only" in said
    assert list(zarr.open_group(out / "data/obs").keys()) == ["image"]

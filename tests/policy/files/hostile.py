"""Writes hostile files, reads each kind with its reader, and reports the answer and the memory used.

    python hostile.py write FOLDER
    python hostile.py read FOLDER      prints JSON: kind → sentence, megabytes

Two processes, so that the memory for writing is not counted.
"""

import gc
import json
import os
import shutil
import struct
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

GIB = 2**30
SIZES = {"position": 2}
INFO = dict(task="reach", action_convention="delta", observation=SIZES, action={"step": 2}, action_low=[-1.0, -1.0],
            action_high=[1.0, 1.0], control_hz=20, controller={}, made_with={})  # fmt: skip
SPEC = {k: v for k, v in INFO.items() if k != "made_with"}
SPEC |= {
    "schedule": {"_class_name": "DDPMScheduler", "num_train_timesteps": 100},
    "network": {"kind": "unet", "channels": [8]},
}

Write = Callable[[Path], None]
KINDS: dict[str, tuple[Callable[[Path], None], Callable[[Path], object]]] = {}


def kind(name: str, read: Callable[[Path], object]):
    def add(write: Write) -> Write:
        KINDS[name] = (write, read)
        return write

    return add


# ------------------------------------------------------------------------------------------------ checkpoints


def load(path: Path) -> object:
    from paradp.checkpoints.store import load_trained

    return load_trained(path)


def safetensors(header: object, size: int = 0, length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + bytes(size)


def sparse(path: Path, size: int) -> None:
    with path.open("wb") as file:
        file.truncate(size)


def checkpoint(path: Path, weights: bytes | None = None, text: str | None = None, **changes) -> None:
    import hashlib

    path.mkdir(parents=True)
    spec = json.loads(json.dumps(SPEC))
    for place, value in changes.items():
        *way, last = place.split("__")
        part = spec
        for key in way:
            part = part.setdefault(key, {})
        part[last] = value
    weights = safetensors({}) if weights is None else weights
    (path / "model.safetensors").write_bytes(weights)
    config = {"spec": spec, "model_sha256": hashlib.sha256(weights).hexdigest(), "format": 1}
    (path / "config.json").write_text(text if text is not None else json.dumps(config).replace("Infinity", "1e999"))
    numbers = {f"{what}_{part}": [1.0, 1.0] for what in ("observation", "action") for part in ("offset", "scale")}
    (path / "statistics.json").write_text(json.dumps(numbers))
    (path / "README.md").write_text("a card")


BILLION = 10**9
TRANSFORMER = {"kind": "transformer", "layers": 2, "heads": 2, "embedding": 8}
CONFIGS = {
    "channels 8000": dict(network__channels=[8000]),
    "channels 1e6": dict(network__channels=[64, 10**6]),
    "channels of 1e5 levels": dict(network__channels=[8] * 100_000),
    "channels 0": dict(network__channels=[0]),
    "groups -1": dict(network__groups=-1),
    "groups 0": dict(network__groups=0),
    "kernel 1e9 + 1": dict(network__kernel_size=BILLION + 1),
    "kernel -1": dict(network__kernel_size=-1),
    "timestep embedding 1e9": dict(network__timestep_embedding=BILLION),
    "layers 1e9": dict(network=TRANSFORMER | {"layers": BILLION}),
    "heads 1e9": dict(network=TRANSFORMER | {"heads": BILLION, "embedding": BILLION}),
    "embedding 1e9": dict(network=TRANSFORMER | {"embedding": BILLION}),
    "a network of 17e9 weights": dict(network=TRANSFORMER | {"layers": 64, "embedding": 4096}),
    "timesteps 1e8": dict(schedule__num_train_timesteps=10**8),
    "timesteps 1e8, not whole": dict(schedule__num_train_timesteps=1e8),
    "timesteps 0": dict(schedule__num_train_timesteps=0),
    "betas of 1e5": dict(schedule__trained_betas=[0.5] * 100_000),
    "betas of another length": dict(schedule__trained_betas=[0.1] * 99),
    "betas that are text": dict(schedule__trained_betas=["a"] * 100),
    "predict 1e9": dict(horizons__predict=BILLION),
    "all horizons 1e9": dict(horizons={"observe": BILLION, "predict": 2 * BILLION, "execute": BILLION}),
    "observe 1e6": dict(horizons={"observe": 10**6, "predict": 10**6, "execute": 1}),
    "observation of 1e9": dict(observation={"position": BILLION}),
    "observation of -1": dict(observation={"position": -1}),
    "no observation": dict(observation={}),
    "a key of 1e5 bytes": dict(observation={"x" * 100_000: 2}),
    "a key of nothing": dict(observation={"": 2}),
    "10000 keys": dict(observation={f"k{i}": 1 for i in range(10_000)}),
    "action of 1e9": dict(action={"step": BILLION}),
    "control_hz 0": dict(control_hz=0),
    "control_hz -20": dict(control_hz=-20),
    "control_hz 1e12": dict(control_hz=10**12),
    "action_low too short": dict(action_low=[-1.0]),
    "action_low infinite": dict(action_low=[-1e999, -1.0]),
    "action_high not a number": dict(action_high=[float("nan"), 1.0]),
    "action_low above action_high": dict(action_low=[2.0, -1.0]),
    "action_step too long": dict(action_step=[0.1] * 3),
    "action_step negative": dict(action_step=[0.1, -0.1]),
    "action_step infinite": dict(action_step=[1e999, 0.1]),
    "gains infinite": dict(controller={"kp": 1e999}),
}
for label, changes in CONFIGS.items():
    kind(f"config: {label}", load)(lambda path, changes=changes: checkpoint(path, **changes))

TEXTS = {
    "nested 1000 deep": "[" * 1000 + "]" * 1000,
    "nested 1e5 deep": '{"spec":' * 100_000 + "1" + "}" * 100_000,
    "a list": "[]",
    "a number of 1e5 digits": '{"spec": ' + "9" * 100_000 + "}",
    "a key twice": '{"format": 1, "format": 1}',
    "NaN": '{"spec": NaN}',
    "half a character": '{"spec": {"task": "\\ud800"}}',
    "a megabyte of lists": "[" + "[]," * 340_000 + "[]]",
    "not text": "\udcff",
}
for label, text in TEXTS.items():
    kind(f"config: {label}", load)(
        lambda path, text=text: (
            checkpoint(path),
            (path / "config.json").write_bytes(text.encode(errors="surrogateescape")),
        )
    )


@kind("config: two gigabytes", load)
def _(path):
    checkpoint(path)
    sparse(path / "config.json", 2 * GIB)


@kind("config: a pipe", load)
def _(path):
    checkpoint(path)
    (path / "config.json").unlink()
    os.mkfifo(path / "config.json")


@kind("config: a link out of the folder", load)
def _(path):
    checkpoint(path)
    (path / "config.json").rename(path.parent / "elsewhere.json")
    (path / "config.json").symlink_to(path.parent / "elsewhere.json")


@kind("weights: a link to a device", load)
def _(path):
    checkpoint(path)
    (path / "model.safetensors").unlink()
    (path / "model.safetensors").symlink_to("/dev/zero")


@kind("statistics: of two gigabytes", load)
def _(path):
    checkpoint(path, weights=tiny_weights())
    sparse(path / "statistics.json", 2 * GIB)


@kind("card: of two gigabytes", lambda path: __import__("paradp.checkpoints").checkpoints.read_card(path))
def _(path):
    checkpoint(path)
    sparse(path / "README.md", 2 * GIB)


def tiny_weights() -> bytes:
    return safetensors({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}, 4)


def entry(dtype="F32", shape=(1,), offsets=(0, 4)):
    return {"a": {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}}


WEIGHTS = {
    "a header of 1e12 bytes": safetensors({}, 0, 10**12),
    "a header of 2^64 - 1 bytes": safetensors({}, 0, 2**64 - 1),
    "a shape of 1e12": safetensors(entry(shape=[10**12]), 4),
    "a shape and offsets of 1e12": safetensors(entry(shape=[10**12], offsets=[0, 4 * 10**12]), 4),
    "a product that overflows": safetensors(entry(shape=[2**32, 2**32]), 4),
    "a negative shape": safetensors(entry(shape=[-1]), 4),
    "a type that is not read": safetensors(entry(dtype="PICKLE"), 4),
    "offsets that overlap": safetensors(entry() | {"b": entry()["a"]}, 4),
    "a gap": safetensors(entry(offsets=[4, 8]), 8),
    "a header that is a list": safetensors([], 0),
    "a header nested 1e5 deep": safetensors(b"[" * 100_000 + b"]" * 100_000),
    "metadata that are not text": safetensors({"__metadata__": {"step": 1}}),
    "nothing": b"",
    "another name": tiny_weights(),
}
for label, content in WEIGHTS.items():
    kind(f"weights: {label}", load)(lambda path, content=content: checkpoint(path, weights=content))


@kind("weights: a terabyte", load)
def _(path):
    checkpoint(path)
    sparse(path / "model.safetensors", 10**12)


# ------------------------------------------------------------------------------------------------ episodes


def read_episode(path: Path) -> object:
    from paradp.rollouts.episodes.directory import RunDirectory

    return RunDirectory(path).episodes(range(1))


def episode(content: str) -> Write:
    def write(path: Path) -> None:
        (path / "episodes").mkdir(parents=True)
        (path / "episodes/0.json").write_text(content)

    return write


def keys(count: int) -> str:
    """Many keys, in an alphabet for which Python takes four bytes per character."""
    return "{" + ",".join(f'"{i:x}":0' for i in range(count)) + ',"🤖":0' + "}"


kind("episode: 9e5 keys", read_episode)(episode(keys(900_000)))
kind("episode: as many keys as are read", read_episode)(episode(keys(249_000)))


# ------------------------------------------------------------------------------------------------ tables


def read_latencies(path: Path) -> object:
    from paradp.policy.files.tables import read_table

    return read_table(path, ("replan_seconds",))


def table(column: Callable[[], object], compression: str = "snappy") -> Write:
    def write(path: Path) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.table({"replan_seconds": column()}), path, compression=compression, store_schema=False)

    return write


def repeated(value: object, rows: int) -> Callable[[], object]:
    """One value, stored once, to which every row points."""

    def column() -> object:
        import pyarrow as pa

        return pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int32)), pa.array([value])).dictionary_decode()

    return column


kind("table: a text of a megabyte in 1000 rows", read_latencies)(table(repeated("a" * 10**6, 1000)))
kind("table: 8e6 equal numbers in a few kilobytes", read_latencies)(table(repeated(0.0, 8 * 10**6)))
kind("table: compressed by what makes any number of bytes", read_latencies)(table(repeated(0.0, 9), "zstd"))
kind("table: a list of 8e6 equal numbers", read_latencies)(table(lambda: [[0.0] * (8 * 10**6)]))


# ------------------------------------------------------------------------------------------------ demonstrations


def open_demonstrations(path: Path) -> object:
    from paradp.policy.data.demonstrations import Demonstrations

    there = Demonstrations.open(path)
    return there.observations(), there.actions()


def demonstrations(path: Path) -> None:
    from paradp.policy.data.demonstrations import Demonstrations
    from paradp.policy.data.episode import DemonstrationEpisode, DemonstrationInfo

    there = Demonstrations.open_or_create(path, DemonstrationInfo(**INFO))
    for seed in range(3):
        values = np.random.default_rng(seed).standard_normal((20, 2))
        there.append(DemonstrationEpisode({"position": values}, values, values, seed))


def metadata(array: str, **changes) -> Write:
    """A store in which an array's metadata are changed."""

    def write(path: Path) -> None:
        demonstrations(path)
        file = path / array / "zarr.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | changes))

    return write


def ends(*values: int) -> Write:
    def write(path: Path) -> None:
        import zarr

        demonstrations(path)
        array = zarr.open_group(path, mode="r+")["meta/episode_ends"]
        array.resize((len(values),))
        array[:] = np.array(values)

    return write


def chunk(change: Callable[[bytes], bytes], array: str = "data/action") -> Write:
    """A store in which a chunk's bytes are replaced."""

    def write(path: Path) -> None:
        demonstrations(path)
        file = path / array / "c/0/0"
        file.write_bytes(change(file.read_bytes()))

    return write


def frame(content: int, blocks: bytes = b"\x01\x00\x00") -> bytes:
    """A zstd frame that declares this content size."""
    return b"\x28\xb5\x2f\xfd\xe0" + struct.pack("<Q", content) + blocks


def regular(chunk_shape):
    return {"name": "regular", "configuration": {"chunk_shape": chunk_shape}}


def codec(name: str, **configuration):
    return {"name": name, "configuration": configuration}


def wide(columns: int) -> Write:
    """A store of which every chunk takes 64 MB, two numbers of it used, and two kilobytes on disk."""

    def write(path: Path) -> None:
        from numcodecs.zstd import Zstd

        metadata("data/action", chunk_grid=regular([1, columns]))(path)
        content = Zstd(level=1, checksum=True).encode(np.zeros(columns, np.float32))
        for row in range(60):
            (path / f"data/action/c/{row}").mkdir(exist_ok=True)
            (path / f"data/action/c/{row}/0").write_bytes(content)

    return write


BYTES = codec("bytes", endian="little")
CHUNK = 4096 * 2 * 4
STORES: dict[str, Write] = {
    "6e8 steps": metadata("data/action", shape=[600_000_000, 2]),
    "6e8 episodes": metadata("meta/seeds", shape=[600_000_000]),
    "1e8 steps that are not stored": metadata("data/action", shape=[100_000_000, 2]),
    "a chunk of 1e9 rows": metadata("data/action", chunk_grid=regular([BILLION, 2])),
    "chunks of one row and 16 million columns": wide(BILLION // 64),
    "chunks that are mostly beyond the array": metadata("data/action", shape=[4, 9], chunk_grid=regular([1, 8])),
    "a chunk far longer than the array": metadata("data/action", chunk_grid=regular([2**23, 2])),
    "a chunk of no rows": metadata("data/action", chunk_grid=regular([0, 2])),
    "a negative shape": metadata("data/action", shape=[-1, 2]),
    "a shape of 1e5 axes": metadata("data/action", shape=[1] * 100_000),
    "ends of 1e12": ends(20, 40, 10**12),
    "negative ends": ends(-20, 40, 60),
    "ends that do not increase": ends(20, 10, 60),
    "ends whose differences wrap around": ends(2**63 - 1, -(2**63), -3),
    "a fill value of 1e30": metadata("meta/episode_ends", fill_value=10**30),
    "a fill value of 1e400": metadata("data/action", fill_value=10**400),
    "a fill value that is not zero": metadata("data/action", fill_value=1.0),
    "codec pickle": metadata("data/action", codecs=[BYTES, codec("numcodecs.pickle", protocol=4)]),
    "codec pickle alone": metadata("data/action", codecs=[codec("pickle")]),
    "codec blosc": metadata("data/action", codecs=[BYTES, codec("blosc", cname="lz4", clevel=5, shuffle="noshuffle")]),
    "codec shards": metadata("data/action", codecs=[codec("sharding_indexed", chunk_shape=[4096, 2], codecs=[BYTES])]),
    "codec zstd twice": metadata("data/action", codecs=[codec("zstd", level=0, checksum=False)] * 2),
    "codec zstd a hundred times": metadata("data/action", codecs=[BYTES] + [codec("zstd", level=0, checksum=False)] * 100),
    "objects": metadata("data/action", data_type="object"),
    "texts": metadata("data/action", data_type="string"),
    "another type": metadata("data/action", data_type="float64"),
    "a grid that is not regular": metadata("data/action", chunk_grid=codec("rectangular")),
    "a storage transformer": metadata("data/action", storage_transformers=[codec("x")]),
    "an unknown field": metadata("data/action", surprise=1),
    "consolidated metadata": metadata(
        "", consolidated_metadata={"kind": "inline", "must_understand": False, "metadata": {}}
    ),
    "a chunk that says 1e12": chunk(lambda old: frame(10**12)),
    "a chunk that says nothing": chunk(lambda old: b"\x28\xb5\x2f\xfd\x00\x58\x01\x00\x00"),
    "a second frame of 1e12": chunk(lambda old: old + frame(10**12)),
    "a frame of 1e6 empty blocks": chunk(lambda old: frame(CHUNK, b"\x00\x00\x00" * 20_000 + b"\x01\x00\x00")),
    "a chunk cut short": chunk(lambda old: old[:-5]),
    "a chunk of nothing": chunk(lambda old: b""),
    "a chunk of noise": chunk(lambda old: np.random.default_rng(0).bytes(len(old))),
    "a chunk damaged inside": chunk(lambda old: old[:60] + bytes(b ^ 0x5A for b in old[60:100]) + old[100:]),
    "an observation's chunk damaged inside": chunk(
        lambda old: old[:60] + bytes(b ^ 0x5A for b in old[60:100]) + old[100:], "data/obs/position"
    ),
    "a description of nothing": metadata("", attributes={}),
    "a description of 1e9 columns": metadata("", attributes=INFO | {"observation": {"position": BILLION}, "layout": 2}),
    "a later layout": metadata("", attributes=INFO | {"layout": 3}),
}
for label, write in STORES.items():
    kind(f"store: {label}", open_demonstrations)(write)


@kind("store: a lost chunk", open_demonstrations)
def _(path):
    demonstrations(path)
    (path / "data/action/c/0/0").unlink()


@kind("store: a chunk by another name", open_demonstrations)
def _(path):
    demonstrations(path)
    (path / "data/action/c/0").rename(path / "data/action/c/00")


@kind("store: a lost array", open_demonstrations)
def _(path):
    demonstrations(path)
    shutil.rmtree(path / "data/executed")


@kind("store: a chunk that is a link", open_demonstrations)
def _(path):
    demonstrations(path)
    (path / "data/action/c/0/0").unlink()
    (path / "data/action/c/0/0").symlink_to("/etc/hostname")


@kind("store: a folder that is a link", open_demonstrations)
def _(path):
    demonstrations(path)
    (path / "data/obs").rename(path.parent / "obs")
    (path / "data/obs").symlink_to(path.parent / "obs")


@kind("store: a chunk that is a pipe", open_demonstrations)
def _(path):
    demonstrations(path)
    (path / "data/action/c/0/0").unlink()
    os.mkfifo(path / "data/action/c/0/0")


@kind("store: metadata nested 1e5 deep", open_demonstrations)
def _(path):
    demonstrations(path)
    (path / "data/zarr.json").write_text("[" * 100_000)


@kind("store: version 2", open_demonstrations)
def _(path):
    import zarr

    zarr.open_group(path, mode="w", zarr_format=2)


# ------------------------------------------------------------------------------------------------ HDF5


def read_recorded(path: Path) -> object:
    from paradp.rollouts.imports.recordings import read_file

    file = read_file(path)
    return file.masked("train") if file.masks else file


def recorded(change: Callable) -> Write:
    def write(path: Path) -> None:
        import h5py

        with h5py.File(path, "w") as file:
            data = file.create_group("data")
            data.attrs["env_args"] = json.dumps({"env_name": "Lift", "env_kwargs": {}})
            for i in range(2):
                data[f"demo_{i}/actions"] = np.zeros((20, 7))
                data[f"demo_{i}/states"] = np.zeros((20, 3))
            change(file)

    return write


def claim(name: str, shape, **options) -> Callable:
    def change(file) -> None:
        if name in file:
            del file[name]
        file.create_dataset(name, shape=shape, **options)

    return change


def bomb(file) -> None:
    """1.6 GB of zeros in two megabytes."""
    import zlib

    chunk = zlib.compress(bytes(8 * 10**6), 9)
    for name in ("actions", "states"):
        del file[f"data/demo_0/{name}"]
        array = file.create_dataset(f"data/demo_0/{name}", (10**8, 1), "f8", chunks=(10**6, 1), compression="gzip")
        for i in range(100):
            array.id.write_direct_chunk((i * 10**6, 0), chunk)


def filtered(*filters: int) -> Callable:
    def change(file) -> None:
        import h5py

        del file["data/demo_0/states"]
        properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        properties.set_chunk((20, 3))
        for number in filters:
            properties.set_filter(number, 1, (6,) if number == 1 else ())
        space = h5py.h5s.create_simple((20, 3))
        array = h5py.h5d.create(file["data/demo_0"].id, b"states", h5py.h5t.IEEE_F64LE, space, properties)
        h5py.Dataset(array)[:] = np.zeros((20, 3))

    return change


def shared_names(file) -> None:
    """Two names that point to the same text; there could be two million."""
    import h5py

    names = file.create_dataset("mask/train", (2,), h5py.string_dtype())
    names[:] = ["x" * 12_000_000] * 2


def one_array(file) -> None:
    """An array of 3 MB in 15 KB, in 30 demonstrations."""
    array = file.create_dataset("x", data=np.zeros((60_000, 7)), compression="gzip", compression_opts=9, chunks=(1000, 7))
    for i in range(2, 32):
        file.create_group(f"data/demo_{i}")["actions"] = array


def one_group(file) -> None:
    """One demonstration under 150 names, with 150 observations that are the same array."""
    demo = file["data/demo_0"]
    for i in range(150):
        demo[f"obs/k{i}"] = demo["actions"]
        file[f"data/demo_{i + 2}"] = demo


def one_observation_group(file) -> None:
    file["data/demo_0/obs/k"] = np.zeros((20, 3))
    file["data/demo_1/obs"] = file["data/demo_0/obs"]


def many_names(file) -> None:
    for i in range(20_000):
        file[f"data/demo_0/obs/k{i}"] = file["data/demo_0/states"]


def many_masks(file) -> None:
    file["mask/m0"] = np.array([b"demo_0"])
    for i in range(1, 2000):
        file[f"mask/m{i}"] = file["mask/m0"]


def one_mask(file) -> None:
    """A mask of 60000 names, stored in two places."""
    file.create_dataset("mask/a", data=np.zeros(60_000, "S10"), compression="gzip", chunks=(60_000,))
    file["mask/train"] = file["mask/a"]


def crowded(file) -> None:
    """Much else that may carry text, so that a long one is a small part of the file."""
    for i in range(300):
        file.create_group(f"data/demo_{i + 2}").attrs["model_file"] = "<mujoco/>"
    file["data"].attrs["env_args"] = "x" * 10**8


def forged(place: str) -> Write:
    """A text of a few characters whose entry in the file claims three gigabytes."""
    length = 777

    def write(path: Path) -> None:
        import h5py

        def put(file) -> None:
            if place == "mask/train":
                file.create_dataset(place, (1,), h5py.string_dtype())[:] = ["x" * length]
            else:
                file["data"].attrs[place] = "x" * length

        recorded(put)(path)
        content = bytearray(path.read_bytes())
        heap = content.index(b"GCOL")
        claim = struct.pack("<IQ", length, heap)
        assert content.count(claim) == 1
        struct.pack_into("<I", content, content.index(claim), 3 * BILLION)
        path.write_bytes(content)

    return write


for label, place in {"description": "env_args", "mask": "mask/train"}.items():
    kind(f"recorded: a {label} that claims 3e9 characters and has 777", read_recorded)(forged(place))


RECORDED = {
    "one array in 30 demonstrations": one_array,
    "one demonstration under 150 names": one_group,
    "one group of observations in two demonstrations": one_observation_group,
    "20000 names of one array": many_names,
    "one mask under two names": one_mask,
    "one mask under 2000 names": many_masks,
    "3e10 numbers": claim("data/demo_0/actions", (10**9, 32), dtype="f8", chunks=(1, 32)),
    "2e8 numbers that are not stored": claim("data/demo_0/actions", (2 * 10**8, 1), dtype="f8", chunks=(10**6, 1)),
    "2e8 numbers that are not stored, in one piece": claim("data/demo_0/actions", (10**8, 2), dtype="f8"),
    "1.6 GB in two megabytes": bomb,
    "a chunk of 4 GB": claim("data/demo_0/actions", (20, 7), dtype="u1", chunks=(2**31 // 4, 7), maxshape=(None, 7)),
    "a chunk far larger than the array": claim(
        "data/demo_0/actions", (20, 7), dtype="f8", chunks=(2**17, 7), maxshape=(None, 7), fillvalue=0, compression="gzip"
    ),
    "a mask of 1e10 names": claim("mask/train", (10**10,), dtype="S8", chunks=(1000,)),
    "a mask of names of 1e9 bytes": claim("mask/train", (1,), dtype=f"S{BILLION}"),
    "a mask of names that are too long": shared_names,
    "a mask that is a link": lambda file: file.__setitem__("mask", __import__("h5py").ExternalLink("/etc/passwd", "/")),
    "a filter that is not built in": filtered(32015),
    "compressed twice": filtered(1, 1),
    "a description of 1e8 characters": lambda file: file["data"].attrs.__setitem__("env_args", "x" * 10**8),
    "a description nested 1e5 deep": lambda file: file["data"].attrs.__setitem__("env_args", "[" * 60_000),
    "a description of 1e8 characters among 300 groups with notes": crowded,
    "a description that is a number": lambda file: file["data"].attrs.__setitem__("env_args", 5),
    "actions elsewhere": lambda file: (
        file.__delitem__("data/demo_0/actions"),
        file.__setitem__("data/demo_0/actions", __import__("h5py").SoftLink("/data/demo_1/actions")),
    ),
}
for label, change in RECORDED.items():
    kind(f"recorded: {label}", read_recorded)(recorded(change))


@contextmanager
def peak() -> Iterator[Callable[[], float]]:
    """Yields a function for the largest memory that this process has taken since, in megabytes.

    Each kind counts by itself: what Python keeps of one for later is not the next one's.
    """
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")  # Linux forgets the largest memory so far
    before = memory("VmRSS")
    yield lambda: memory("VmHWM") - before


def memory(what: str) -> float:
    """A size in /proc/self/status, in megabytes."""
    [line] = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(what))
    return int(line.split()[1]) / 1024


def write_all(folder: Path) -> None:
    for index, (write, _) in enumerate(KINDS.values()):
        (folder / str(index)).mkdir()
        write(folder / str(index) / "it")
    demonstrations(folder / "good")
    recorded(lambda file: None)(folder / "good.hdf5")


def read_all(folder: Path) -> dict[str, tuple[str, float]]:
    # What is imported, and what a sound file takes, is not counted.
    open_demonstrations(folder / "good")
    read_recorded(folder / "good.hdf5")
    import pandas  # noqa: F401
    import pyarrow.parquet  # noqa: F401

    import paradp.checkpoints.store
    import paradp.rollouts.episodes.directory  # noqa: F401

    answers = {}
    for index, (name, (_, read)) in enumerate(KINDS.items()):
        with peak() as taken:
            try:
                answer = f"read: {read(folder / str(index) / 'it')}"
            except ValueError as error:
                answer = f"refused: {error}"
            answers[name] = answer[:2000], taken()
    return answers


if __name__ == "__main__":
    if sys.argv[1] == "write":
        write_all(Path(sys.argv[2]))
    else:
        print(json.dumps(read_all(Path(sys.argv[2]))))

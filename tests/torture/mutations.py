"""Ways to damage a file or a folder. Each takes a random generator and a path, and describes the damage."""

import gzip
import json
import os
import pickle
import random
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from torture.specimens import SECRET

# A file without an end.
DEVICE = Path("/dev/zero")


@dataclass(frozen=True)
class Trap:
    """The file that a hostile file tries to create.

    Attributes:
        canary: appears where something in a file was executed.
        outside: a file of numbers `SECRET`, which no link may lead to.
    """

    canary: Path
    outside: Path


class Boom:
    """Creates the canary when it is unpickled."""

    def __init__(self, canary: Path) -> None:
        self._canary = canary

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self._canary}",)


def spoil(path: Path, rng: random.Random, trap: Trap) -> str:
    """Damages one file in a way that fits its format; returns which and how."""
    if path.suffix == ".hdf5" and rng.random() < 0.5:
        name, way = rng.choice(list(_HDF5.items()))
        way(path, rng, trap)
        return name
    if (path / "zarr.json").exists() and rng.random() < 0.4:
        name, way = rng.choice(list(_ZARR.items()))
        way(path, rng, trap)
        return name
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    # Of folders with a thousand chunks or episodes, the few that describe the rest should come up as well.
    described = [p for p in files if p.suffix == ".json"] or files
    file = rng.choice(described if rng.random() < 0.6 else files)
    ways = _BYTES | (_JSON if file.suffix == ".json" else {})
    name, way = rng.choice(list(ways.items()))
    way(file, rng, trap)
    return f"{file.relative_to(path.parent)}: {name}"


def spoil_bytes(file: Path, rng: random.Random, trap: Trap) -> None:
    """Damages one file in a way that fits every format."""
    rng.choice(list(_BYTES.values()))(file, rng, trap)


def _truncate(file: Path, rng: random.Random, trap: Trap) -> None:
    content = file.read_bytes()
    file.write_bytes(content[: rng.randrange(max(1, len(content)))])


def _flip(file: Path, rng: random.Random, trap: Trap) -> None:
    content = bytearray(file.read_bytes() or b"\0")
    for _ in range(rng.choice([1, 1, 4, 64])):
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    file.write_bytes(content)


def _overwrite(file: Path, rng: random.Random, trap: Trap) -> None:
    content = bytearray(file.read_bytes())
    at = rng.randrange(max(1, len(content)))
    content[at : at + 8] = struct.pack("<Q", rng.choice([2**64 - 1, 2**63, 2**40, 0]))
    file.write_bytes(content)


def _insert(file: Path, rng: random.Random, trap: Trap) -> None:
    content = file.read_bytes()
    at = rng.randrange(len(content) + 1)
    file.write_bytes(content[:at] + rng.randbytes(rng.choice([1, 8, 4096])) + content[at:])


def _empty(file: Path, rng: random.Random, trap: Trap) -> None:
    file.write_bytes(b"")


def _noise(file: Path, rng: random.Random, trap: Trap) -> None:
    file.write_bytes(rng.randbytes(rng.choice([1, 100, 10_000])))


def _pickled(file: Path, rng: random.Random, trap: Trap) -> None:
    file.write_bytes(pickle.dumps(Boom(trap.canary), protocol=rng.choice([0, 2, 4])))


def _torch_file(file: Path, rng: random.Random, trap: Trap) -> None:
    import torch

    torch.save({"state": Boom(trap.canary)}, file)


def _numpy_file(file: Path, rng: random.Random, trap: Trap) -> None:
    with file.open("wb") as opened:
        np.save(opened, np.array([Boom(trap.canary)], object), allow_pickle=True)


def _zip_bomb(file: Path, rng: random.Random, trap: Trap) -> None:
    file.write_bytes(gzip.compress(bytes(50_000_000)))


def _sparse(file: Path, rng: random.Random, trap: Trap) -> None:
    """A sparse file of 8 GB."""
    with file.open("r+b") as opened:
        opened.truncate(2**33)


def _folder(file: Path, rng: random.Random, trap: Trap) -> None:
    file.unlink()
    file.mkdir()


def _missing(file: Path, rng: random.Random, trap: Trap) -> None:
    file.unlink()


def _pipe(file: Path, rng: random.Random, trap: Trap) -> None:
    """A pipe without a writer: opening it waits for ever."""
    file.unlink()
    os.mkfifo(file)


def _device(file: Path, rng: random.Random, trap: Trap) -> None:
    """A link to an endless file."""
    file.unlink()
    file.symlink_to(DEVICE)


def _loop(file: Path, rng: random.Random, trap: Trap) -> None:
    file.unlink()
    file.symlink_to(file)


_Way = Callable[[Path, random.Random, Trap], None]
_BYTES: dict[str, _Way] = {
    "cut short": _truncate,
    "bits flipped": _flip,
    "a length overwritten": _overwrite,
    "bytes put in": _insert,
    "empty": _empty,
    "noise": _noise,
    "a pickle": _pickled,
    "a file of PyTorch's": _torch_file,
    "an array of numpy's": _numpy_file,
    "a zip bomb": _zip_bomb,
    "sparse, 8 GB": _sparse,
    "a folder": _folder,
    "missing": _missing,
    "a pipe": _pipe,
    "a link to a device": _device,
    "a link to itself": _loop,
}


def _edit(change: Callable[[Any, random.Random], Any]) -> _Way:
    """Changes one place of a JSON file."""

    def way(file: Path, rng: random.Random, trap: Trap) -> None:
        content = json.loads(file.read_text())
        places = list(_places(content))
        if places:
            holder, key = rng.choice(places)
            holder[key] = change(holder[key], rng)
        file.write_text(json.dumps(content))

    return way


def _places(value: Any) -> Any:
    """Every (holder, key) of a JSON value."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in list(items):
        yield value, key
        yield from _places(inner)


def _huge(old: Any, rng: random.Random) -> Any:
    return rng.choice([10**6, 10**8, 10**9, 10**12, 2**31, 2**63, 2**64, 10**30, 1e308, -1, -(10**9), 0])


def _other_type(old: Any, rng: random.Random) -> Any:
    return rng.choice([None, True, "text", "", [], {}, [[]], {"a": {}}, 1.5, "9" * 5000, [1] * 10_000, "\ud83d\0"])


def _not_finite(old: Any, rng: random.Random) -> Any:
    return rng.choice([float("nan"), float("inf"), -float("inf")])


def _drop(file: Path, rng: random.Random, trap: Trap) -> None:
    content = json.loads(file.read_text())
    holder, key = rng.choice(list(_places(content)) or [([0], 0)])
    del holder[key]
    file.write_text(json.dumps(content))


def _deep(file: Path, rng: random.Random, trap: Trap) -> None:
    depth = rng.choice([500, 5000, 200_000])
    opening, end = rng.choice([("[", "]"), ('{"a":', "}")])
    file.write_text(opening * depth + "1" + end * depth)


def _deep_inside(file: Path, rng: random.Random, trap: Trap) -> None:
    content = json.loads(file.read_text())
    places = list(_places(content))
    if not places:
        return
    holder, key = rng.choice(places)
    holder[key] = "@@"
    depth = rng.choice([500, 5000])
    file.write_text(json.dumps(content).replace('"@@"', "[" * depth + "]" * depth))


def _whole(file: Path, rng: random.Random, trap: Trap) -> None:
    file.write_text(rng.choice(["[]", "{}", "null", "1", '"text"', "true", "[1, 2]", "{", "\ufeff{}", "NaN", "[" * 9]))


def _many(file: Path, rng: random.Random, trap: Trap) -> None:
    """Forty megabytes of keys."""
    file.write_text("{" + ",".join(f'"key{i}": {i}' for i in range(2_000_000)) + "}")


_JSON: dict[str, _Way] = {
    "a number far too large": _edit(_huge),
    "a value of another type": _edit(_other_type),
    "a number that is not finite": _edit(_not_finite),
    "a key left out": _drop,
    "nested deeply": _deep,
    "nested deeply inside": _deep_inside,
    "another value as a whole": _whole,
    "millions of keys": _many,
}


def _chunks(path: Path) -> list[Path]:
    return sorted(p for p in path.rglob("*") if p.is_file() and p.name != "zarr.json")


def _zarr_v2(codec: str) -> _Way:
    """Makes it a store of version 2 with objects that are unpickled on reading."""

    def way(path: Path, rng: random.Random, trap: Trap) -> None:
        attributes = json.loads((path / "zarr.json").read_text())["attributes"]
        (path / "zarr.json").unlink()
        (path / ".zgroup").write_text('{"zarr_format": 2}')
        (path / ".zattrs").write_text(json.dumps(attributes))
        for inner in ("meta", "data"):
            (path / inner / "zarr.json").unlink(missing_ok=True)
            (path / inner / ".zgroup").write_text('{"zarr_format": 2}')
        array = path / "meta" / "episode_ends"
        (array / "zarr.json").unlink()
        unpickles = {"id": "pickle", "protocol": 4}
        described = {
            "zarr_format": 2, "shape": [1], "chunks": [1], "dtype": "|O", "fill_value": "", "order": "C",
            "compressor": unpickles if codec == "compressor" else None,
            "filters": [{"id": "vlen-utf8"}, *([unpickles] if codec == "filter" else [])],
        }  # fmt: skip
        if codec == "alone":
            described["filters"] = [unpickles]
        (array / ".zarray").write_text(json.dumps(described))
        (array / "0").write_bytes(pickle.dumps(Boom(trap.canary), protocol=4))

    return way


def _zarr_codec(path: Path, rng: random.Random, trap: Trap) -> None:
    """A codec of version 3: numcodecs' pickle, or an unknown one."""
    described = rng.choice(sorted(path.rglob("*/zarr.json")))
    content = json.loads(described.read_text())
    name = rng.choice(["numcodecs.pickle", "pickle", "numcodecs.json2", "vlen-utf8", "vlen-bytes", "numcodecs.zlib"])
    content["codecs"] = [{"name": name, "configuration": {}}]
    if rng.random() < 0.5:
        content["data_type"] = rng.choice(["string", "bytes", "object", "|O", {"name": "null_terminated_bytes"}])
    described.write_text(json.dumps(content))
    for chunk in _chunks(described.parent):
        chunk.write_bytes(pickle.dumps(Boom(trap.canary)))


def _zarr_shape(path: Path, rng: random.Random, trap: Trap) -> None:
    described = rng.choice([p for p in path.rglob("zarr.json") if json.loads(p.read_text()).get("node_type") == "array"])
    content = json.loads(described.read_text())
    huge = rng.choice([6 * 10**8, 10**12, 2**63 - 1, -1, 10**30])
    if rng.random() < 0.5:
        content["shape"][0] = huge
    else:
        content["chunk_grid"]["configuration"]["chunk_shape"][0] = huge
    described.write_text(json.dumps(content))


def _zarr_ends(path: Path, rng: random.Random, trap: Trap) -> None:
    """Episodes that end beyond the steps, in arrays that declare this length."""
    import zarr

    many = rng.choice([10**6, 6 * 10**8, 10**12, -5])
    zarr.open_group(path, mode="r+")["meta/episode_ends"][-1] = many
    if many > 0 and rng.random() < 0.7:
        for name in ("obs/agent_pos", "obs/block_keypoints", "action", "executed"):
            # zarr's own resize would list the chunks.
            described = path / "data" / name / "zarr.json"
            content = json.loads(described.read_text())
            content["shape"][0] = many
            described.write_text(json.dumps(content))


def _link_chunk(path: Path, rng: random.Random, trap: Trap) -> None:
    """A chunk is a link to a file outside."""
    chunk = rng.choice(_chunks(path))
    chunk.unlink()
    chunk.symlink_to(trap.outside)


def _link_array(path: Path, rng: random.Random, trap: Trap) -> None:
    """An array is a link to a folder outside, with other numbers."""
    import zarr

    outside = trap.outside.parent / "outside.zarr"
    if not outside.exists():
        group = zarr.open_group(outside, mode="w", zarr_format=3)
        group.create_array("action", shape=(160, 2), chunks=(4096, 2), dtype="float32")[:] = SECRET
    array = path / "data" / "action"
    array.rename(path.parent / "array-that-was")
    array.symlink_to(outside / "action")


_ZARR: dict[str, _Way] = {
    "version 2, pickle as a compressor": _zarr_v2("compressor"),
    "version 2, pickle as a filter": _zarr_v2("filter"),
    "version 2, pickle alone": _zarr_v2("alone"),
    "another codec": _zarr_codec,
    "a shape far too large": _zarr_shape,
    "episodes that end beyond": _zarr_ends,
    "a chunk that is a link": _link_chunk,
    "an array that is a link": _link_array,
}


def _hdf5(change: Callable[[Any, random.Random, Trap], None]) -> _Way:
    def way(path: Path, rng: random.Random, trap: Trap) -> None:
        import h5py

        with h5py.File(path, "r+") as file:
            change(file, rng, trap)

    return way


def _replace(file: Any, name: str, **settings: Any) -> None:
    del file[name]
    file.create_dataset(name, **settings)


def _outside_file(trap: Trap) -> Path:
    import h5py

    outside = trap.outside.parent / "outside.hdf5"
    if not outside.exists():
        with h5py.File(outside, "w") as file:
            file["actions"] = np.full((20, 7), SECRET)
    return outside


def _external_link(file: Any, rng: random.Random, trap: Trap) -> None:
    import h5py

    name = rng.choice(["data/demo_0/actions", "data/demo_1/obs/object"])
    del file[name]
    file[name] = h5py.ExternalLink(str(_outside_file(trap)), "/actions")


def _external_storage(file: Any, rng: random.Random, trap: Trap) -> None:
    raw = trap.outside.parent / "outside.raw"
    raw.write_bytes(np.full((20, 7), SECRET).tobytes())
    _replace(file, "data/demo_0/actions", shape=(20, 7), dtype="f8", external=[(str(raw), 0, 20 * 7 * 8)])


def _virtual(file: Any, rng: random.Random, trap: Trap) -> None:
    import h5py

    del file["data/demo_0/actions"]
    layout = h5py.VirtualLayout((20, 7), "f8")
    layout[:] = h5py.VirtualSource(str(_outside_file(trap)), "actions", (20, 7))
    file["data/demo_0"].create_virtual_dataset("actions", layout)


def _too_long(file: Any, rng: random.Random, trap: Trap) -> None:
    """Billions of steps in chunks that were never written."""
    _replace(file, "data/demo_0/actions", shape=(rng.choice([10**8, 10**12]), 7), dtype="f8", chunks=(1024, 7))


def _long_mask(file: Any, rng: random.Random, trap: Trap) -> None:
    _replace(file, "mask/train", shape=(10**10,), dtype="S8", chunks=(1024,))


def _long_extra(file: Any, rng: random.Random, trap: Trap) -> None:
    """Additional observations."""
    file.create_dataset("data/demo_0/obs/extra", shape=(20, 10**9), dtype="f8", chunks=(1, 1024))


def _odd_dtype(file: Any, rng: random.Random, trap: Trap) -> None:
    import h5py

    odd = rng.choice(
        [
            {"data": np.zeros((20, 7), complex)},
            {"data": np.zeros((20, 7), [("x", "f4"), ("y", "i4")])},
            {"shape": (20, 7), "dtype": h5py.string_dtype()},
            {"shape": (20,), "dtype": h5py.vlen_dtype(np.float64)},
            {"data": np.zeros((20, 7), "S4")},
            {"data": np.zeros((20, 7, 1, 1))},
            {"data": 1.0},
            {"data": h5py.Empty("f8")},
            {"data": np.full((20, 7), np.nan)},
        ]
    )
    _replace(file, "data/demo_0/actions", **odd)


def _odd_attributes(file: Any, rng: random.Random, trap: Trap) -> None:
    odd = ["", "[]", "null", "[" * 5000, '{"env_name": 5}', '{"env_kwargs": []}', b"\xff\xfe", 7, np.zeros(3), "{}" * 99]
    file["data"].attrs["env_args"] = rng.choice(odd)


def _circle(file: Any, rng: random.Random, trap: Trap) -> None:
    """A group that contains itself."""
    file["data/demo_0/obs/again"] = file["data"]


def _group_for_array(file: Any, rng: random.Random, trap: Trap) -> None:
    name = rng.choice(["data/demo_0/actions", "data/demo_0/obs/object", "mask/train"])
    del file[name]
    file.create_group(name)


_HDF5: dict[str, _Way] = {
    "an external link": _hdf5(_external_link),
    "external storage": _hdf5(_external_storage),
    "a virtual array": _hdf5(_virtual),
    "an array far too long": _hdf5(_too_long),
    "a mask of ten billion names": _hdf5(_long_mask),
    "an observation far too wide": _hdf5(_long_extra),
    "an odd type": _hdf5(_odd_dtype),
    "odd attributes": _hdf5(_odd_attributes),
    "a group that holds itself": _hdf5(_circle),
    "a group for an array": _hdf5(_group_for_array),
}

"""Stores of arrays (zarr 3), checked before zarr opens them: types of files, metadata, codecs, sizes of chunks.

zarr uses any installed codec, and one of them unpickles. It follows links, and it allocates the sizes that metadata and
compressed chunks declare. So the whole store is checked before zarr opens it. Only this file imports zarr.
"""

import itertools
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter

from paradp.policy.files.limits import (
    CHUNK_BYTES,
    CHUNK_STEPS,
    DOCUMENT_BYTES,
    MOST_FILES,
    check_expansion,
    check_image_bytes,
    check_numbers,
)
from paradp.policy.files.reading import open_regular, read_validated
from paradp.policy.files.zstd import check_frame

if TYPE_CHECKING:
    import zarr

METADATA = "zarr.json"
DEEPEST = 8
# Types of numbers → bytes of one. Objects and text are never read from a store.
ITEM_BYTES = {
    **{"bool": 1, "int8": 1, "uint8": 1, "int16": 2, "uint16": 2, "float16": 2},
    **{"int32": 4, "uint32": 4, "float32": 4, "int64": 8, "uint64": 8, "float64": 8},
}
# The supported codecs, which are zarr's default for numbers. The decompressed size of a chunk must be known before decoding:
# another compressor needs a check like `check_frame` for zstd.
SERIALIZER, COMPRESSOR = "bytes", "zstd"


@dataclass(frozen=True)
class StoredArray:
    """The metadata of one array in a store.

    Attributes:
        shape: shape of the array.
        chunks: shape of a chunk, of size `chunk_bytes`; a chunk at the edge takes as much memory as any other.
        dtype: type of its numbers.
        codecs: names of the codecs, in the order of encoding.
        present: indices of the stored chunks.
    """

    shape: tuple[int, ...]
    chunks: tuple[int, ...]
    dtype: str
    codecs: tuple[str, ...]
    present: set[tuple[int, ...]] = field(default_factory=set)

    @property
    def is_images(self) -> bool:
        """Whether it has images: uint8 `[steps, height, width, channels]`."""
        return self.dtype == "uint8" and len(self.shape) == 4

    @property
    def chunk_bytes(self) -> int:
        return math.prod(self.chunks) * ITEM_BYTES[self.dtype]

    def check(self) -> None:
        """Checks the metadata.

        Raises:
            ValueError: they are inconsistent, or exceed the limits.
        """
        if self.dtype not in ITEM_BYTES:
            raise ValueError(f"{self.dtype!r:.40} is not a number type; there are: {', '.join(ITEM_BYTES)}")
        if odd := [name for name in self.codecs if name not in (SERIALIZER, COMPRESSOR)]:
            raise ValueError(f"the codec {odd[0]!r:.40} is not read; there are: {SERIALIZER}, {COMPRESSOR}")
        if self.codecs not in ((SERIALIZER,), (SERIALIZER, COMPRESSOR)):
            raise ValueError(f"the codecs {', '.join(self.codecs)} do not turn bytes into numbers")
        if len(self.shape) != len(self.chunks) or not self.shape:
            raise ValueError(f"shape {list(self.shape)} and chunks {list(self.chunks)} do not fit each other")
        _check_sizes([self])
        if self.chunk_bytes > CHUNK_BYTES:
            raise ValueError(f"a chunk of it takes {self.chunk_bytes} bytes; at most {CHUNK_BYTES} are read")
        # zarr decodes whole chunks, several at a time, even if only a small part belongs to the array.
        fitting = (max(self.shape[0], CHUNK_STEPS), *self.shape[1:])
        if any(chunk > max(n, 1) for chunk, n in zip(self.chunks, fitting, strict=True)):
            raise ValueError(f"chunks of {list(self.chunks)} are larger than the array, of {list(self.shape)}")
        padded = math.prod(self.grid(self.shape[0])) * self.chunk_bytes
        if padded > math.prod(self.shape) * ITEM_BYTES[self.dtype] + self.chunk_bytes:
            raise ValueError(f"chunks of {list(self.chunks)} do not fill the array, of {list(self.shape)}")

    def grid(self, rows: int) -> list[int]:
        """Number of chunks of the first `rows` rows along each axis."""
        return [math.ceil(n / chunk) for n, chunk in zip((rows, *self.shape[1:]), self.chunks, strict=True)]

    def lacks(self, rows: int) -> bool:
        """Whether a chunk of the first `rows` rows is missing."""
        return any(index not in self.present for index in itertools.product(*map(range, self.grid(rows))))


def check_store(path: Path) -> dict[str, StoredArray]:
    """Checks a whole store without decoding it; returns its arrays by their path in the store, such as `data/action`.

    Raises:
        ValueError: the store contains a link or pipe, has another format version, an unsupported codec or type, or exceeds
            the limits; the message names the file.
    """
    if not (path / METADATA).is_file():
        old = " It is a zarr 2 store." * any((path / name).exists() for name in (".zgroup", ".zarray"))
        raise ValueError(f"{path} is not a zarr 3 store: it lacks {METADATA}.{old}")
    arrays: dict[str, StoredArray] = {}
    stored = 0
    for folder, files in _walk(path):
        stored += sum(files.values())
        if METADATA not in files:
            continue
        node = read_validated(folder / METADATA, DOCUMENT_BYTES, _NODE)
        if isinstance(node, _Array):
            arrays[folder.relative_to(path).as_posix()] = _claim(folder, node)
    for name, array in arrays.items():
        _find_chunks(path / name, array)
    try:
        _check_sizes(arrays.values())
        check_expansion(sum(math.prod(array.shape) * ITEM_BYTES[array.dtype] for array in arrays.values()), stored)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    return arrays


def _check_sizes(arrays: Iterable[StoredArray]) -> None:
    """Checks the declared total size of numbers and of images."""
    sizes = [(array.is_images, math.prod(array.shape)) for array in arrays]
    check_image_bytes(sum(size for is_images, size in sizes if is_images))
    check_numbers(sum(size for is_images, size in sizes if not is_images))


def open_store(path: Path, mode: Literal["r", "r+"]) -> "tuple[zarr.Group, dict[str, StoredArray]]":
    """Opens a store: its root group and the metadata of its arrays; errors as in `check_store`.

    zarr's consolidated metadata in the root are not used, because only the arrays' own metadata were checked.
    """
    import zarr

    arrays = check_store(path)
    return zarr.open_group(path, mode=mode, zarr_format=3, use_consolidated=False), arrays


def create_store(path: Path, arrays: Mapping[str, tuple[tuple[int, ...], str]], attributes: Mapping[str, Any]) -> None:
    """Creates a store of empty arrays that grow along their first axis; replaces an existing one.

    Each chunk has a checksum, so that a damaged one is detected.

    Args:
        path: the folder.
        arrays: path in the store → shape of a chunk and type of its numbers.
        attributes: JSON attributes of the root.
    """
    import zarr
    from zarr.codecs import ZstdCodec

    group = zarr.open_group(path, mode="w", zarr_format=3)
    for name, (chunks, dtype) in arrays.items():
        group.create_array(name, shape=(0, *chunks[1:]), chunks=chunks, dtype=dtype, compressors=ZstdCodec(checksum=True))
    group.attrs.update(dict(attributes))


def append(group: "zarr.Group", name: str, rows: Any) -> None:
    """Appends rows to an array. Also stores chunks of zeros, so that a missing chunk is always an error."""
    import zarr

    with zarr.config.set({"array.write_empty_chunks": True}):
        group[name].append(rows)


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class _Codec(_Strict):
    name: str
    configuration: dict[str, bool | int | str] = {}  # no nested codecs


class _Shape(_Strict):
    chunk_shape: Annotated[list[Annotated[int, Field(ge=1)]], Field(max_length=4)]


class _Grid(_Strict):
    name: Literal["regular"]
    configuration: _Shape


class _Keys(_Strict):
    name: Literal["default"]
    configuration: dict[Literal["separator"], Literal["/"]] = {}


class _Group(_Strict):
    zarr_format: Literal[3]
    node_type: Literal["group"]
    attributes: dict[str, Any] = {}


def _check_fill(value: float) -> float:
    """Only 0: another fill value could replace chunks that were never written, or not fit the array's type."""
    if value != 0:
        raise ValueError(f"must be 0, not {value!r:.40}")
    return value


class _Array(_Strict):
    zarr_format: Literal[3]
    node_type: Literal["array"]
    shape: Annotated[list[Annotated[int, Field(ge=0)]], Field(max_length=4)]
    data_type: str
    chunk_grid: _Grid
    chunk_key_encoding: _Keys
    fill_value: Annotated[bool | int | float, AfterValidator(_check_fill)]
    codecs: Annotated[list[_Codec], Field(max_length=8)]
    attributes: dict[str, Any] = {}
    storage_transformers: Annotated[list, Field(max_length=0)] = []
    dimension_names: list[str | None] | None = None


_NODE: TypeAdapter[_Group | _Array] = TypeAdapter(Annotated[_Group | _Array, Field(discriminator="node_type")])


def _claim(folder: Path, node: _Array) -> StoredArray:
    shape, chunks = tuple(node.shape), tuple(node.chunk_grid.configuration.chunk_shape)
    array = StoredArray(shape, chunks, node.data_type, tuple(codec.name for codec in node.codecs))
    try:
        array.check()
    except ValueError as error:
        raise ValueError(f"{folder}: {error}") from error
    return array


def _walk(root: Path) -> Iterator[tuple[Path, dict[str, int]]]:
    """Yields every folder with the names and sizes of its files; refuses links."""
    folders, count = [(root, 0)], 0
    while folders:
        folder, depth = folders.pop()
        files = {}
        with os.scandir(folder) as entries:
            for entry in entries:
                count += 1
                if count > MOST_FILES:
                    raise ValueError(f"{root} holds more than {MOST_FILES} files")
                if entry.is_dir(follow_symlinks=False):
                    if depth == DEEPEST:
                        raise ValueError(f"{entry.path} lies too deep for a store")
                    folders.append((folder / entry.name, depth + 1))
                elif entry.is_file(follow_symlinks=False):
                    files[entry.name] = entry.stat(follow_symlinks=False).st_size
                else:
                    raise ValueError(f"{entry.path} is a link or a device; only regular files in the store are read")
        yield folder, files


def _find_chunks(folder: Path, array: StoredArray) -> None:
    """Checks every chunk that zarr could read, and records its index."""
    grid = array.grid(array.shape[0])
    for path in _chunk_files(folder / "c", len(grid)):
        index = _index(path.relative_to(folder / "c").parts)
        if index is None or any(i >= n for i, n in zip(index, grid, strict=True)):
            continue  # outside the grid; zarr does not read it
        _check_chunk(path, array)
        array.present.add(index)


def _chunk_files(folder: Path, depth: int) -> Iterator[Path]:
    if folder.is_dir():
        for path in folder.iterdir():
            if depth > 1:
                yield from _chunk_files(path, depth - 1)
            else:
                yield path


def _index(names: Sequence[str]) -> tuple[int, ...] | None:
    """The index of a chunk from its path; `None` for names that zarr does not use, such as 00 for 0."""
    written = all(name.isascii() and name.isdecimal() and str(int(name)) == name for name in names)
    return tuple(map(int, names)) if written else None


def _check_chunk(path: Path, array: StoredArray) -> None:
    # Incompressible data become slightly longer.
    with open_regular(path, 2 * array.chunk_bytes + 1024) as (file, size):
        try:
            if COMPRESSOR in array.codecs:
                check_frame(file, size, array.chunk_bytes)
            elif size != array.chunk_bytes:
                raise ValueError(f"it has {size} bytes, a chunk has {array.chunk_bytes}")
        except ValueError as error:
            raise ValueError(f"{path} is damaged: {error}") from error

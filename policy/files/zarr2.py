"""Reads arrays in zarr's format 2, which Diffusion Policy's data sets use, one chunk at a time.

Arrays are opened by name, without the package zarr, which cannot open a group with an unknown codec in one array. Sizes in
`.zarray` and in each chunk's header are checked before memory is allocated. Objects are never read, and no pickle is used.

Compressors: none, Blosc, zstd, zlib, gzip, lz4, and JPEG 2000 (`imagecodecs_jpeg2k`), which Pillow decodes.
"""

import gzip
import io
import itertools
import math
import re
import zlib
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from paradp.policy.files.limits import (
    CHUNK_BYTES,
    DOCUMENT_BYTES,
    EXPANSION,
    EXPANSION_FREE,
    check_expansion,
    check_image_bytes,
    check_numbers,
)
from paradp.policy.files.pictures import decoded
from paradp.policy.files.reading import open_regular, read_validated
from paradp.policy.files.zstd import check_frame

METADATA = ".zarray"
JPEG_2000 = "imagecodecs_jpeg2k"
_BLOSC_HEADER = 16
# numpy's names of simple types. In others it evaluates expressions: "(2,)f4" is an array of two.
_TYPE = re.compile(r"[<>|=]?[A-Za-z]{1,12}[0-9]{0,3}")
_KINDS = "biuf"  # truth values, integers, floats; objects ("O") and texts are never read


class _Metadata(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True)

    zarr_format: Literal[2]
    shape: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1, max_length=4)]
    chunks: Annotated[list[Annotated[int, Field(ge=1)]], Field(min_length=1, max_length=4)]
    dtype: str
    compressor: dict[str, Any] | None
    filters: list[Any] | None = None
    order: Literal["C", "F"] = "C"
    dimension_separator: Literal[".", "/"] = "."


_METADATA = TypeAdapter(_Metadata)


@dataclass(frozen=True)
class Zarr2Array:
    """An array whose chunks are read when they are needed. `open` makes one.

    Attributes:
        folder: the array's folder.
        root: the data set's folder; nothing outside it is read.
        shape: its shape.
        chunks: the shape of a chunk; those at the edge are padded.
        dtype: the type of its numbers.
        codec: name of the compressor, or `None`.
        order: order of the axes in a chunk: C or F.
        separator: character between the indices in a chunk's name.
    """

    folder: Path
    root: Path
    shape: tuple[int, ...]
    chunks: tuple[int, ...]
    dtype: np.dtype
    codec: str | None
    order: Literal["C", "F"]
    separator: str

    @classmethod
    def open(cls, folder: Path, root: Path) -> "Zarr2Array":
        """Reads and checks an array's metadata.

        Args:
            folder: the array's folder.
            root: the data set's folder; nothing outside it is read.

        Raises:
            ValueError: the metadata are damaged, exceed the limits, or require a filter or compressor that is not supported;
                the message names the array and the reason.
            OSError: the array is missing or cannot be read.
        """
        found = read_validated(folder / METADATA, DOCUMENT_BYTES, _METADATA, root)
        try:
            array = cls(
                folder,
                root,
                tuple(found.shape),
                tuple(found.chunks),
                _dtype(found.dtype),
                _codec(found),
                found.order,
                found.dimension_separator,
            )
            array._check()
        except ValueError as error:
            raise ValueError(f"{folder}: {error}") from error
        return array

    def read(self, begin: int = 0, end: int | None = None) -> np.ndarray:
        """Reads rows, `[end - begin, …]`; needs memory for these rows and one chunk.

        Raises:
            ValueError: a chunk is missing, damaged, or declares another size.
        """
        end = self.shape[0] if end is None else end
        found = np.empty((end - begin, *self.shape[1:]), self.dtype)
        grid = [math.ceil(n / chunk) for n, chunk in zip(self.shape[1:], self.chunks[1:], strict=True)]
        rows = self.chunks[0]
        for first in range(begin // rows, math.ceil(end / rows)):
            here = slice(max(begin, first * rows), min(end, (first + 1) * rows))
            for inner in np.ndindex(*grid):
                chunk = self._chunk((first, *inner))
                places = [slice(i * n, min((i + 1) * n, size)) for i, n, size in self._inner(inner)]
                inside = [slice(0, place.stop - place.start) for place in places]
                into = slice(here.start - begin, here.stop - begin)
                found[(into, *places)] = chunk[(slice(here.start - first * rows, here.stop - first * rows), *inside)]
        return found

    def _inner(self, index: tuple[int, ...]) -> "zip[tuple[int, int, int]]":
        return zip(index, self.chunks[1:], self.shape[1:], strict=True)

    @property
    def nbytes(self) -> int:
        """Size of all numbers in bytes."""
        return math.prod(self.shape) * self.dtype.itemsize

    @property
    def chunk_bytes(self) -> int:
        """Size of an uncompressed chunk in bytes."""
        return math.prod(self.chunks) * self.dtype.itemsize

    def _check(self) -> None:
        if len(self.shape) != len(self.chunks):
            raise ValueError(f"shape {list(self.shape)} and chunks {list(self.chunks)} do not fit each other")
        if self.chunk_bytes > CHUNK_BYTES:
            raise ValueError(f"a chunk of it takes {self.chunk_bytes} bytes; at most {CHUNK_BYTES} are read")
        if len(self.shape) == 4:
            check_image_bytes(self.nbytes)
        else:
            check_numbers(math.prod(self.shape))

    def chunk_files(self) -> Iterator[Path]:
        """The files of all chunks, in order; nothing is opened."""
        first, *inner = (range(math.ceil(n / chunk)) for n, chunk in zip(self.shape, self.chunks, strict=True))
        # Not one product over all axes, which would hold as many numbers as the first axis claims.
        return (self._file((i, *index)) for i in first for index in itertools.product(*inner))

    def _file(self, index: tuple[int, ...]) -> Path:
        return self.folder / self.separator.join(map(str, index))

    def _chunk(self, index: tuple[int, ...]) -> np.ndarray:
        path = self._file(index)
        try:
            # Incompressible data become slightly longer.
            with open_regular(path, 2 * self.chunk_bytes + 1024, root=self.root) as (file, size):
                content = file.read(size)
        except FileNotFoundError:
            raise self._lacks(path) from None
        try:
            if self.codec == JPEG_2000:
                return _jpeg_2000(content, self.chunks)
            raw = _DECODERS[self.codec](content, self.chunk_bytes)
        except (ValueError, RuntimeError, OSError, EOFError, zlib.error, SyntaxError) as error:  # decoders, of damaged bytes
            raise ValueError(f"{path} is damaged: {error}") from error
        if len(raw) != self.chunk_bytes:
            raise ValueError(f"{path} is damaged: it holds {len(raw)} bytes, a chunk has {self.chunk_bytes}")
        return np.frombuffer(raw, self.dtype).reshape(self.chunks, order=self.order)

    def _lacks(self, path: Path) -> ValueError:
        """The error for a chunk that is missing."""
        name = path.relative_to(self.folder)
        return ValueError(f"{self.folder} lacks the chunk {name}: it was cut short when it was copied")


def check_stored(arrays: Collection[Zarr2Array], what: str) -> None:
    """Checks that arrays are in total not far larger than their chunks on disk. A file with several names counts once.

    Args:
        arrays: the arrays.
        what: their name in messages.

    Raises:
        ValueError: the arrays are too large, or a chunk is missing.
        OSError: a chunk cannot be read.
    """
    claimed, stored, places = sum(array.nbytes for array in arrays), 0, set()
    enough = (claimed - EXPANSION_FREE) / EXPANSION
    for array, path in ((one, path) for one in arrays for path in one.chunk_files()):
        if stored >= enough:  # usually after a hundredth of the chunks
            break
        try:
            found = path.stat()
        except FileNotFoundError:
            raise array._lacks(path) from None
        if (place := (found.st_dev, found.st_ino)) not in places:
            places.add(place)
            stored += found.st_size
    try:
        check_expansion(claimed, stored)
    except ValueError as error:
        raise ValueError(f"{what}: {error}") from error


def _dtype(name: str) -> np.dtype:
    try:
        found = np.dtype(name) if _TYPE.fullmatch(name) else None
    except TypeError:
        found = None
    if found is None:
        raise ValueError(f"{name!r:.40} is not a number type")
    if found.kind not in _KINDS or found.itemsize > 8:
        raise ValueError(f"it holds {name!r:.40}, not numbers; objects, pickled or not, are never read")
    return found


def _codec(found: _Metadata) -> str | None:
    if found.filters:
        raise ValueError(f"it needs the filter {str(found.filters[0])!r:.60}; filters are not supported")
    name = None if found.compressor is None else str(found.compressor.get("id"))
    if name == JPEG_2000:
        if found.dtype != "|u1" or len(found.shape) != 4 or found.chunks != [1, *found.shape[1:]]:
            raise ValueError(f"{name} is read where every chunk is one uint8 image, not of {found.dtype} {found.chunks}")
    elif name not in _DECODERS:
        known = ", ".join(str(one) for one in (*_DECODERS, JPEG_2000) if one)
        raise ValueError(
            f"it is compressed by {name!r:.60}, which is not read; these are: {known}. Write the array with one of them"
        )
    return name


def _blosc(content: bytes, size: int) -> bytes:
    """The header of a Blosc chunk declares the sizes with and without compression (bytes 4 to 7, and 12 to 15)."""
    from numcodecs.blosc import decompress

    if len(content) < _BLOSC_HEADER:
        raise ValueError("it is cut short")
    declared, stored = (int.from_bytes(content[at : at + 4], "little") for at in (4, 12))
    if declared != size or stored != len(content):
        raise ValueError(f"it declares {declared} bytes in {stored}, and should have {size} in {len(content)}")
    return bytes(decompress(content))


def _lz4(content: bytes, size: int) -> bytes:
    from numcodecs.lz4 import decompress

    if (declared := int.from_bytes(content[:4], "little")) != size:
        raise ValueError(f"it declares {declared} bytes, and should have {size}")
    return bytes(decompress(content))


def _zstd(content: bytes, size: int) -> bytes:
    from numcodecs.zstd import decompress

    check_frame(io.BytesIO(content), len(content), size)
    return bytes(decompress(content))


def _zlib(content: bytes, size: int) -> bytes:
    return zlib.decompressobj().decompress(content, size + 1)


def _gzip(content: bytes, size: int) -> bytes:
    with gzip.open(io.BytesIO(content)) as file:
        return file.read(size + 1)


_DECODERS: dict[str | None, Callable[[bytes, int], bytes]] = {
    None: lambda content, size: content,
    "blosc": _blosc,
    "zstd": _zstd,
    "zlib": _zlib,
    "gzip": _gzip,
    "lz4": _lz4,
}


def _jpeg_2000(content: bytes, shape: tuple[int, ...]) -> np.ndarray:
    try:
        return decoded(content, shape[1:], ("JPEG2000",))[None]
    except KeyError as error:  # a Pillow that was built without it
        raise ValueError(f"it is JPEG 2000 ({JPEG_2000}), which this Pillow does not read") from error

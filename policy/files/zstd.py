"""Checks the structure of a zstd frame (RFC 8878, §3.1.1) without decompressing it.

A decoder allocates the size that the frame's header declares, and continues with any further frames: a file of a few
kilobytes can claim terabytes. A chunk must therefore be a single frame that declares its size.
"""

import os
from typing import BinaryIO

MAGIC = b"\x28\xb5\x2f\xfd"
# Header flag → length in bytes of the content-size field, and the offset to add to its value.
_SIZE_FIELDS = {0: (0, 0), 1: (2, 256), 2: (4, 0), 3: (8, 0)}
LEAST_BLOCK = 256  # smallest average of content bytes per block; encoders use thousands
_REPEATED = 1  # block type: one byte, repeated


def check_frame(file: BinaryIO, size: int, content: int) -> None:
    """Checks that a file is a single zstd frame with the expected content size.

    Args:
        file: open at its beginning.
        size: length of the file in bytes.
        content: expected length of the decompressed content in bytes.

    Raises:
        ValueError: the file is not such a frame, is truncated, or has data after the frame.
    """
    claimed, checksum = _read_header(file)
    if claimed != content:
        raise ValueError(f"it declares a content of {claimed} bytes, not {content}")
    last, left = False, content // LEAST_BLOCK + 64
    while not last:
        if (left := left - 1) < 0:
            raise ValueError("it is cut into too many blocks")
        block = int.from_bytes(_read(file, 3), "little")
        last, kind, length = bool(block & 1), block >> 1 & 3, block >> 3
        file.seek(1 if kind == _REPEATED else length, os.SEEK_CUR)
        if file.tell() > size:
            raise ValueError("it is cut short")
    end = file.tell() + 4 * checksum
    if end != size:
        raise ValueError("it is cut short" if end > size else "more follows after its end")


def _read_header(file: BinaryIO) -> tuple[int | None, bool]:
    """The declared content size (`None` if not declared), and whether the frame ends with a checksum."""
    if _read(file, 4) != MAGIC:
        raise ValueError("it is not a zstd frame")
    (flags,) = _read(file, 1)
    single, dictionary = bool(flags & 0x20), flags & 3
    if dictionary:
        raise ValueError("it needs a dictionary")
    if not single:
        _read(file, 1)  # the window's size
    width, added = _SIZE_FIELDS[flags >> 6]
    width = width or single  # of one byte
    claimed = int.from_bytes(_read(file, width), "little") + added if width else None
    return claimed, bool(flags & 4)


def _read(file: BinaryIO, count: int) -> bytes:
    if len(found := file.read(count)) < count:
        raise ValueError("it is cut short")
    return found

"""The frame of a zstd file (RFC 8878, §3.1.1), walked through without decompressing it.

A decoder sets aside whatever the frame's header claims, and goes on with further frames: a few kilobytes can claim
terabytes. So a chunk must be one frame that says its size, and end where the frame ends.
"""

import os
from typing import BinaryIO

MAGIC = b"\x28\xb5\x2f\xfd"
# By the header's flags: bytes of the field that holds the content's size, and what is added to it.
_SIZE_FIELDS = {0: (0, 0), 1: (2, 256), 2: (4, 0), 3: (8, 0)}
LEAST_BLOCK = 256  # bytes of content, on average; encoders take thousands
_REPEATED = 1  # the kind of block that is one byte, to be repeated


def check_frame(file: BinaryIO, size: int, content: int) -> None:
    """Checks that a file is a single frame of so many bytes of content.

    Args:
        file: at its beginning.
        size: bytes of the file.
        content: bytes that it should decompress to.

    Raises:
        ValueError: it is something else, cut short, or followed by more.
    """
    claimed, checksum = _read_header(file)
    if claimed != content:
        raise ValueError(f"it says that it decompresses to {claimed} bytes, not {content}")
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
    """The content's size, `None` where it is not said, and whether a checksum ends the frame."""
    if _read(file, 4) != MAGIC:
        raise ValueError("it is no zstd frame")
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

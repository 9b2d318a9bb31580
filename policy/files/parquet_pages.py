"""Reads the page headers of a parquet file, without decoding the pages.

A parquet reader uses each page's own header, not the footer. A page of a few bytes can declare a list or a dictionary of two
thousand million values, for which the reader allocates memory. So we add up the declared sizes first.

A header is a struct in Apache Thrift's compact protocol (parquet.thrift, `PageHeader`). These fields are used:

    1        the kind of page
    2, 3     size of its content in bytes, uncompressed and in the file
    5, 7, 8  header of a data page, a dictionary, a data page of the second version: its field 1 is the number of values
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

HEADER_BYTES = 64 * 1024  # includes the smallest and the largest value, which writers truncate to some kilobytes
DEEPEST = 8
# Thrift's compact types, and the header's fields.
_TRUE, _FALSE, _BYTE, _DOUBLE, _BINARY, _LIST, _SET, _STRUCT = 1, 2, 3, 7, 8, 9, 10, 12
_NUMBERS = (4, 5, 6)
_KIND, _UNPACKED, _PACKED = 1, 2, 3
_DICTIONARY = 2  # a kind of page
_COUNTED = {0: 5, 2: 7, 3: 8}  # kind of page → field whose first field is its number of values


@dataclass(frozen=True)
class ParquetPage:
    """A page header.

    Attributes:
        dictionary: whether it is a dictionary page, to whose values other pages refer.
        values: declared number of values.
        bytes: declared size of the uncompressed content.
    """

    dictionary: bool
    values: int
    bytes: int


def pages(file: BinaryIO, begin: int, end: int) -> Iterator[ParquetPage]:
    """The pages between two offsets of a file.

    Raises:
        ValueError: a header is invalid, or a page extends beyond the end.
    """
    place = begin
    while place < end:
        file.seek(place)
        header = _Header(file.read(min(HEADER_BYTES, end - place)))
        fields = header.struct()
        kind, unpacked, packed = (_whole(fields.get(name)) for name in (_KIND, _UNPACKED, _PACKED))
        place += header.place + packed
        if place > end:
            raise ValueError("a page goes beyond the end of its column")
        counted = fields.get(_COUNTED.get(kind, 0))
        yield ParquetPage(kind == _DICTIONARY, _whole(counted.get(1)) if isinstance(counted, dict) else 0, unpacked)


def _whole(value: object) -> int:
    if type(value) is not int or not 0 <= value < 2**31:
        raise ValueError("a page's header is damaged")
    return value


class _Header:
    """Reads a struct in Thrift's compact protocol; `place` is the offset after the bytes read so far."""

    def __init__(self, content: bytes):
        self._content = content
        self.place = 0

    def struct(self, depth: int = 0) -> dict[int, object]:
        """Field → a number or a nested struct; skips fields of other types."""
        if depth > DEEPEST:
            raise ValueError("a page's header is nested too deep")
        found: dict[int, object] = {}
        name = 0
        while head := self._byte():
            name = name + (head >> 4) if head >> 4 else _signed(self._varint())
            if name in found:
                raise ValueError("a page's header has a field twice")
            found[name] = self._value(head & 15, depth)
        return found

    def _value(self, kind: int, depth: int, in_list: bool = False) -> object:
        if kind in _NUMBERS:
            return _signed(self._varint())
        if kind == _STRUCT:
            return self.struct(depth + 1)
        if kind in (_LIST, _SET):
            self._skip_list(depth)
        elif kind in (_TRUE, _FALSE):
            self._skip(in_list)  # outside lists, the type itself encodes the boolean
        elif kind in (_BYTE, _DOUBLE):
            self._skip(1 if kind == _BYTE else 8)
        elif kind == _BINARY:
            self._skip(self._varint())
        else:
            raise ValueError("a page's header is damaged")
        return None

    def _skip_list(self, depth: int) -> None:
        head = self._byte()
        count = head >> 4 if head >> 4 < 15 else self._varint()
        if depth > DEEPEST:
            raise ValueError("a page's header is nested too deep")
        for _ in range(count):  # ends soon even if the count is forged, because each entry takes at least a byte
            self._value(head & 15, depth + 1, in_list=True)

    def _byte(self) -> int:
        self._skip(1)
        return self._content[self.place - 1]

    def _skip(self, count: int) -> None:
        self.place += count
        if self.place > len(self._content):
            raise ValueError(f"a page's header is cut short, or longer than {HEADER_BYTES} bytes")

    def _varint(self) -> int:
        value = 0
        for shift in range(0, 70, 7):
            byte = self._byte()
            value |= (byte & 127) << shift
            if byte < 128:
                return value
        raise ValueError("a page's header is damaged")


def _signed(value: int) -> int:
    """Undoes zigzag: 0, 1, 2, 3 stand for 0, −1, 1, −2."""
    return value >> 1 ^ -(value & 1)

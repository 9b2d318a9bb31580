"""Reads the table of contents of the zip files that `torch.save` writes; unpacks nothing.

PyTorch stores every tensor as a separate, uncompressed member. So its bytes can be read in place, and a file cannot claim to
file claims to hold cannot be more than the file itself.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from io import BufferedReader
from pathlib import PurePosixPath

# One member takes about 110 bytes. A U-Net with its averaged copy and the optimiser's state has 774 members.
CONTENTS_BYTES = 16 * 2**20
MOST_MEMBERS = 100_000

_END = struct.Struct("<4s4H2LH")
_END_64 = struct.Struct("<4sQ2H2L4Q")
_LOCATOR_64 = struct.Struct("<4sLQL")
_ENTRY = struct.Struct("<4s6H3L5H2L")
_LOCAL = struct.Struct("<4s5H3L2H")
_ABSENT_16, _ABSENT_32 = 0xFFFF, 0xFFFFFFFF
_EXTRA_64 = 1


@dataclass(frozen=True)
class Member:
    """One file in an archive.

    Attributes:
        header: offset of the member's own header in the file.
        size: in bytes.
    """

    header: int
    size: int


@dataclass(frozen=True)
class Archive:
    """A table of contents that passed all checks.

    Attributes:
        members: by name, without the folder that contains them all.
    """

    members: dict[str, Member]

    @classmethod
    def read(cls, file: BufferedReader, size: int) -> "Archive":
        """Reads the table of contents of an open file of that size.

        Raises:
            ValueError: PyTorch did not write this zip file: it is truncated, compressed or encrypted, has a name twice or a
                name that leads out of the archive, or its members overlap or are larger than the file.
        """
        begin, length, count = _contents(file, size)
        if count > MOST_MEMBERS or length > min(CONTENTS_BYTES, size):
            raise ValueError(f"it claims {count} members in {length} bytes of contents")
        if begin + length > size:
            raise ValueError("its table of contents lies outside of the file: cut short")
        file.seek(begin)
        found: dict[str, Member] = {}
        for name, member in _entries(file.read(length), count):
            if name in found:
                raise ValueError(f"the member {name!r:.80} occurs twice")
            found[name] = member
        _check_places(found, begin)
        return cls(_inside(found))

    def place(self, file: BufferedReader, name: str) -> tuple[int, int]:
        """Returns the offset of a member's first byte, and its size.

        Raises:
            ValueError: there is no member of that name, or its own header contradicts the table of contents.
        """
        if (member := self.members.get(name)) is None:
            raise ValueError(f"it has no member {name!r:.80}")
        file.seek(member.header)
        mark, _, flags, method, _, _, _, _, _, named, extra = _LOCAL.unpack(_exactly(file, _LOCAL.size))
        _check_plain(name, mark == b"PK\3\4", flags, method)
        return member.header + _LOCAL.size + named + extra, member.size

    def read_member(self, file: BufferedReader, name: str, most: int) -> bytes:
        """Returns the content of a small member.

        Raises:
            ValueError: as `place`, or it is larger than `most`.
        """
        begin, size = self.place(file, name)
        if size > most:
            raise ValueError(f"its member {name!r:.80} has {size} bytes; at most {most} are read")
        file.seek(begin)
        return _exactly(file, size)


def _exactly(file: BufferedReader, size: int) -> bytes:
    found = file.read(size)
    if len(found) < size:
        raise ValueError("it ends in the middle: cut short")
    return found


def _contents(file: BufferedReader, size: int) -> tuple[int, int, int]:
    """Returns the offset of the table of contents, its size in bytes and its number of members."""
    if size < _END.size:
        raise ValueError("it is not a zip file")
    file.seek(size - _END.size)
    # PyTorch writes no comment: the end record is the end of the file.
    mark, disk, first, here, count, length, begin, comment = _END.unpack(file.read(_END.size))
    if mark != b"PK\5\6" or comment:
        raise ValueError("it is not a zip file that PyTorch wrote, or it is cut short")
    if _ABSENT_16 not in (here, count) and _ABSENT_32 not in (length, begin):
        if (disk, first, here) != (0, 0, count):
            raise ValueError("it is a part of an archive")
        return begin, length, count
    # Archives larger than 4 GB have these numbers in a second record.
    at = size - _END.size - _LOCATOR_64.size
    file.seek(max(at, 0))
    mark, _, where, _ = _LOCATOR_64.unpack(_exactly(file, _LOCATOR_64.size))
    if at < 0 or mark != b"PK\6\7" or where > at - _END_64.size:
        raise ValueError("its end record is damaged")
    file.seek(where)
    mark, _, _, _, disk, first, here, count, length, begin = _END_64.unpack(_exactly(file, _END_64.size))
    if mark != b"PK\6\6" or (disk, first, here) != (0, 0, count):
        raise ValueError("its end record is damaged")
    return begin, length, count


def _entries(contents: bytes, count: int) -> Iterator[tuple[str, Member]]:
    at = 0
    for _ in range(count):
        if at + _ENTRY.size > len(contents):
            raise ValueError("its table of contents is cut short")
        entry = _ENTRY.unpack_from(contents, at)
        mark, flags, method, stored, size, header = entry[0], entry[3], entry[4], entry[8], entry[9], entry[16]
        named, extra, comment = entry[10:13]
        at += _ENTRY.size
        raw, more = contents[at : at + named], contents[at + named : at + named + extra]
        at += named + extra + comment
        if at > len(contents):
            raise ValueError("its table of contents is cut short")
        name = _name(raw)
        _check_plain(name, mark == b"PK\1\2", flags, method)
        size, stored, header = _large(name, more, size, stored, header)
        if size != stored:
            raise ValueError(f"the member {name!r:.80} claims {size} bytes and stores {stored}")
        yield name, Member(header, size)


def _check_plain(name: str, marked: bool, flags: int, method: int) -> None:
    if not marked:
        raise ValueError(f"the header of its member {name!r:.80} is damaged")
    if flags & 1 or method:
        raise ValueError(f"the member {name!r:.80} is compressed or encrypted, which PyTorch's are not")


def _name(raw: bytes) -> str:
    try:
        name = raw.decode()
    except UnicodeDecodeError:
        raise ValueError("a name in it is not text") from None
    path = PurePosixPath(name)
    if not name or path.is_absolute() or ".." in path.parts or str(path) != name or "\\" in name or "\0" in name:
        raise ValueError(f"the name {name!r:.80} leads out of the archive")
    return name


def _large(name: str, extra: bytes, *numbers: int) -> tuple[int, ...]:
    """Reads the sizes and offsets that do not fit into 32 bits from an extra field, where they have the same order."""
    if _ABSENT_32 not in numbers:
        return numbers
    while len(extra) >= 4:
        kind, length = struct.unpack_from("<2H", extra)
        if kind == _EXTRA_64:
            values = [int.from_bytes(extra[i : i + 8], "little") for i in range(4, min(4 + length, len(extra)) - 7, 8)]
            if len(values) >= numbers.count(_ABSENT_32):
                return tuple(values.pop(0) if number == _ABSENT_32 else number for number in numbers)
        extra = extra[4 + length :]
    raise ValueError(f"the member {name!r:.80} does not say how large it is")


def _check_places(members: dict[str, Member], end: int) -> None:
    """Checks that no members overlap or lie outside the file, so that their sizes sum to at most the file's size."""
    place = 0
    for name, member in sorted(members.items(), key=lambda item: item[1].header):
        if member.header < place:
            raise ValueError(f"the member {name!r:.80} overlaps another")
        place = member.header + _LOCAL.size + len(name.encode()) + member.size
        if place > end:
            raise ValueError(f"the member {name!r:.80} lies outside of the file: cut short")


def _inside(members: dict[str, Member]) -> dict[str, Member]:
    folders = {name.split("/", 1)[0] for name in members if "/" in name}
    if len(folders) != 1 or not all("/" in name for name in members):
        raise ValueError("its members do not lie in one folder, as PyTorch's do")
    return {name.split("/", 1)[1]: member for name, member in members.items()}

"""Reads HDF5 files as plain data: no links, no plug-ins, no Python objects, and sizes are checked before reading.

Only this file imports h5py. Arrays must be stored completely in the file itself, with filters that are built into HDF5.
"""

import math
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from paradp.policy.files.image_arrays import image_shape
from paradp.policy.files.limits import (
    ATTRIBUTE_BYTES,
    CHUNK_BYTES,
    HDF5_BYTES,
    HDF5_TEXT_MEMORY,
    MOST_ARRAYS,
    MOST_LISTS,
    MOST_NAMES,
    NAMES_BYTES,
    SMALL_CHUNK_BYTES,
    check_expansion,
    check_image_bytes,
    check_numbers,
)
from paradp.policy.files.memory import at_most
from paradp.policy.files.reading import open_regular
from paradp.policy.wording import counted

if TYPE_CHECKING:
    import h5py

# Built-in compression and checksums: deflate, shuffle, Fletcher's checksum, szip, and h5py's own lzf. For any other filter,
# HDF5 would search for a library and load it.
FILTERS = {1: "gzip", 2: "shuffle", 3: "fletcher32", 4: "szip", 32000: "lzf"}


@contextmanager
def open_hdf5(path: Path) -> "Iterator[h5py.File]":
    """Opens a file that the user named, for reading.

    Raises:
        ValueError: the file is not HDF5, is truncated, or is found to be damaged inside the `with` block; the message names
            the file.
    """
    import h5py

    if not path.is_file():
        raise ValueError(f"{path} is not a file")
    with open_regular(path, HDF5_BYTES, inside=False):
        pass
    try:
        with h5py.File(path, "r") as file:
            yield file
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    except (OSError, KeyError, RuntimeError, TypeError, AttributeError, OverflowError) as error:  # h5py, on damaged files
        raise ValueError(f"{path} is not a readable HDF5 file, or is cut short: {error}") from error


def group(parent: "h5py.Group", name: str) -> "h5py.Group":
    """A subgroup.

    Raises:
        ValueError: it is missing, is a link to another place, or is not a group.
    """
    import h5py

    _check_place(parent, name, f"it lacks the group {name!r}")
    if not isinstance(parent[name], h5py.Group):
        raise ValueError(f"{name!r} is not a group")
    return parent[name]


def numbers(parent: "h5py.Group", name: str, where: str) -> "h5py.Dataset":
    """An array of numbers `[T, n]`, checked but not yet read.

    Raises:
        ValueError: it is missing, is a link to another place, is not such an array, or is not stored completely; the message
            has its path.
    """
    found = _dataset(parent, name, where)
    if found.dtype.kind not in "fiu" or found.dtype.itemsize > 8:
        raise ValueError(f"{where}/{name} holds {found.dtype}, not numbers; objects, pickled or not, are never read")
    if found.ndim != 2:
        raise ValueError(f"{where}/{name} has shape {found.shape}; it should be steps by values")
    check_numbers(found.size, f"{where}/{name}")
    _check_stored(found, f"{where}/{name}")
    return found


def images(parent: "h5py.Group", name: str, where: str) -> "h5py.Dataset":
    """An array of images `[T, height, width, channels]`, checked but not yet read.

    Raises:
        ValueError: as in `numbers`, and as in `image_shape`.
    """
    found = _dataset(parent, name, where)
    image_shape(found.shape, found.dtype, f"{where}/{name}")
    check_image_bytes(found.size * found.dtype.itemsize)
    _check_stored(found, f"{where}/{name}")
    check_expansion(found.size * found.dtype.itemsize, found.id.get_storage_size())
    return found


def numbers_or_images(parent: "h5py.Group", name: str, where: str) -> "h5py.Dataset":
    """An array with four axes as `images` reads it, any other as `numbers` does."""
    return images(parent, name, where) if _dataset(parent, name, where).ndim == 4 else numbers(parent, name, where)


def check_size(arrays: "list[h5py.Dataset]") -> None:
    """Checks the total size of the arrays to read. They must be different arrays, see `check_places`.

    Raises:
        ValueError: they exceed the limits, or far exceed the bytes on disk.
    """
    claimed, stored = sum(array.size for array in arrays), sum(array.id.get_storage_size() for array in arrays)
    check_numbers(claimed)
    check_expansion(8 * claimed, stored)


def check_places(parent: "h5py.Group", groups: Collection[str], inner: str, deepest: int = 1) -> None:
    """Checks the entries of some subgroups, and of the group `inner` in each; opens nothing else.

    Args:
        parent: the group.
        groups: names of its subgroups.
        inner: name of the group in each of them.
        deepest: levels of groups that are looked into, from `inner` on.

    Raises:
        ValueError: there are too many entries, or an object is stored under several names. With such hard links, a small
            file could declare any number of arrays.
    """
    import h5py

    places: set[int] = set()

    def enter(found: "h5py.Group", names: Collection[str]) -> None:
        if len(places) + len(names) > MOST_ARRAYS:
            raise ValueError(f"it holds more than {MOST_ARRAYS} arrays and groups")
        for name in names:
            link = found.id.links.get_info(name.encode(errors="surrogateescape"))
            if link.type == h5py.h5l.TYPE_HARD:
                if link.u in places:
                    raise ValueError(f"{found.name}/{name} is the same object as another entry; each must have its own")
                places.add(link.u)

    def look_into(outer: "h5py.Group", name: str, levels: int) -> None:
        if levels and _is_group(outer, name):
            found = outer[name]
            enter(found, names := list(found))
            for entry in names:
                look_into(found, entry, levels - 1)

    enter(parent, groups)
    for name in groups:
        demonstration = group(parent, name)
        enter(demonstration, list(demonstration))
        look_into(demonstration, inner, deepest)


def _is_group(parent: "h5py.Group", name: str) -> bool:
    """Whether an entry is a group in the file itself; it is not opened."""
    import h5py

    if not isinstance(parent.get(name, getlink=True), h5py.HardLink):
        return False
    return bool(h5py.h5o.get_info(parent.id, name.encode(errors="surrogateescape")).type == h5py.h5o.TYPE_GROUP)


def name_lists(parent: "h5py.Group") -> dict[str, list[str]]:
    """All lists of names in a group, such as the masks of a file.

    Raises:
        ValueError: an entry is not a list of names, is a link to another place, or the lists are too long together.
    """
    import h5py

    if len(parent) > MOST_LISTS:
        raise ValueError(f"it holds {len(parent)} masks; at most {MOST_LISTS} are read")
    lists: dict[str, list[str]] = {}
    number, room = MOST_NAMES, NAMES_BYTES
    for name in parent:
        found = _dataset(parent, name, "mask")
        if found.ndim != 1 or h5py.check_string_dtype(found.dtype) is None:
            raise ValueError(f"mask/{name} is not a list of names")
        if (number := number - len(found)) < 0:
            raise ValueError(f"mask/{name} lists {len(found)} names; at most {MOST_NAMES} are read of all masks together")
        if found.dtype.itemsize * len(found) > room:
            raise ValueError(f"mask/{name} claims names of {counted(found.dtype.itemsize, 'byte')}")
        _check_stored(found, f"mask/{name}")
        lists[name] = []
        for raw in _raw_names(found):
            if (room := room - len(raw)) < 0:
                raise ValueError(f"mask/{name} holds names that are too long")
            lists[name].append(raw.decode(errors="replace"))
    return lists


def _raw_names(found: "h5py.Dataset") -> Iterator[bytes]:
    import h5py

    if h5py.check_string_dtype(found.dtype).length is not None:  # type: ignore[union-attr]
        yield from found[:].tolist()
    else:
        # One by one, because a thousand names can all point to the same long text.
        for index in range(len(found)):
            with _short_texts(found.name.removeprefix("/")):
                name = found[index]
            yield name


@contextmanager
def _short_texts(what: str) -> Iterator[None]:
    """Within this context, a variable-length text can be read, and a long one fails for lack of memory.

    The file stores the length twice, and h5py reports neither. HDF5 allocates the first length, up to four gigabytes, before
    it compares the two.
    """
    try:
        with at_most(HDF5_TEXT_MEMORY):
            yield
    except OSError as error:
        raise ValueError(f"{what} cannot be read: damaged, or longer than {HDF5_TEXT_MEMORY} bytes ({error})") from error


def text(parent: "h5py.Group", name: str) -> str | None:
    """A text attribute; `None` if it does not exist.

    Raises:
        ValueError: the attribute is not a text, or is too long.
    """
    import h5py

    if name not in parent.attrs:
        return None
    attribute = h5py.h5a.open(parent.id, name.encode())
    if attribute.get_type().get_class() != h5py.h5t.STRING or attribute.get_space().get_simple_extent_npoints() != 1:
        raise ValueError(f"the attribute {name!r} is not text")
    if not attribute.get_type().is_variable_str() and attribute.get_type().get_size() > ATTRIBUTE_BYTES:
        raise ValueError(f"the attribute {name!r} is longer than {ATTRIBUTE_BYTES} bytes")
    with _short_texts(f"the attribute {name!r}"):
        found = parent.attrs[name]
    found = np.asarray(found).reshape(-1)[0] if isinstance(found, np.ndarray) else found
    found = found.decode() if isinstance(found, bytes) else str(found)
    if len(found) > ATTRIBUTE_BYTES:
        raise ValueError(f"the attribute {name!r} is longer than {ATTRIBUTE_BYTES} bytes")
    return found


def _dataset(parent: "h5py.Group", name: str, where: str) -> "h5py.Dataset":
    import h5py

    _check_place(parent, name, f"{where} lacks {name!r}")
    found = parent[name]
    if not isinstance(found, h5py.Dataset):
        raise ValueError(f"{where}/{name} is not an array")
    if found.external or found.is_virtual:
        raise ValueError(f"{where}/{name} points to another file")
    return found


def _check_place(parent: "h5py.Group", name: str, lacking: str) -> None:
    import h5py

    link = parent.get(name, getlink=True)
    if link is None:
        raise ValueError(f"{lacking}; it has: {', '.join(parent) or 'nothing'}")
    if not isinstance(link, h5py.HardLink):
        raise ValueError(f"{parent.name}/{name} is a link to another place; links are not followed")


def _check_stored(found: "h5py.Dataset", where: str) -> None:
    """Checks that an array is stored completely, because HDF5 returns zeros for data that were never written."""
    properties = found.id.get_create_plist()
    filters = [properties.get_filter(i)[0] for i in range(properties.get_nfilters())]
    if unknown := [number for number in filters if number not in FILTERS]:
        raise ValueError(f"{where} needs the filter {unknown[0]}; there are: {', '.join(FILTERS.values())}")
    if len(set(filters)) < len(filters):
        raise ValueError(f"{where} is compressed more than once")
    if found.chunks is None:
        missing = found.id.get_storage_size() < found.size * found.dtype.itemsize
    else:
        # HDF5 decodes whole chunks, even if only a small part belongs to the array.
        most = min(CHUNK_BYTES, max(SMALL_CHUNK_BYTES, found.size * found.dtype.itemsize))
        if math.prod(found.chunks) * found.dtype.itemsize > most:
            raise ValueError(f"a chunk of {where} is larger than {most} bytes")
        wanted = math.prod(math.ceil(n / chunk) for n, chunk in zip(found.shape, found.chunks, strict=True))
        missing = found.id.get_num_chunks() < wanted
    if missing:
        raise ValueError(f"{where} claims shape {found.shape}, and not all of that is stored: {_stored(found)}")


def _stored(found: "h5py.Dataset") -> str:
    return f"{found.id.get_storage_size()} bytes of {found.size * found.dtype.itemsize:.2g}"

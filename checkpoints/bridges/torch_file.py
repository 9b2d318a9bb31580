"""Reads files written by `torch.save` without executing code from them; tensors are read when they are needed."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from paradp.bridges.archive import Archive
from paradp.bridges.pickled import PICKLE_BYTES, Inert, Maker, PickledName, read_pickle
from paradp.policy.files.limits import STATE_BYTES
from paradp.policy.files.reading import open_regular

_TYPES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}
_MOST_DIMENSIONS = 8


@dataclass(frozen=True)
class Storage:
    """A stored array that one or more tensors use.

    Attributes:
        member: name of the archive's member.
        dtype: type of the values.
        count: number of values.
    """

    member: str
    dtype: torch.dtype
    count: int


@dataclass(frozen=True)
class SavedTensor:
    """A tensor whose values are not read yet: consecutive values of a storage.

    Attributes:
        storage: the storage.
        offset: index of its first value there.
        shape: its shape.
    """

    storage: Storage
    offset: int
    shape: tuple[int, ...]

    @property
    def bytes(self) -> int:
        return math.prod(self.shape) * self.storage.dtype.itemsize


@dataclass(frozen=True)
class TorchFile:
    """An open file whose table of contents and pickle passed all checks.

    Attributes:
        path: the file.
        content: the data of its pickle, with a `SavedTensor` for each tensor.
    """

    path: Path
    content: Any
    _archive: Archive

    @classmethod
    def open(cls, path: Path) -> "TorchFile":
        """Reads everything except the tensors' values.

        Raises:
            ValueError: `torch.save` did not write this file, or it contains more than plain data; the message names the
                reason.
            OSError: it is missing or cannot be read.
        """
        with open_regular(path, STATE_BYTES, inside=False) as (file, size):
            try:
                archive = Archive.read(file, size)
                if "byteorder" in archive.members and archive.read_member(file, "byteorder", 16) != b"little":
                    raise ValueError("its numbers have their bytes in another order")
                raw = archive.read_member(file, "data.pkl", PICKLE_BYTES)
                content = read_pickle(raw, _KNOWN, lambda said: _storage(said, archive))
            except ValueError as error:
                raise ValueError(f"{path} cannot be read: {error}") from error
        return cls(path, content, archive)

    @torch.no_grad()
    def fill(self, targets: Iterable[tuple[SavedTensor, Tensor]]) -> None:
        """Copies saved values into tensors of the same shapes, and converts their types.

        Raises:
            ValueError: a shape differs, or the file cannot be read, for example because it has changed.
        """
        with open_regular(self.path, STATE_BYTES, inside=False) as (file, _):
            for saved, target in targets:
                if tuple(target.shape) != saved.shape:
                    raise ValueError(f"a tensor has shape {list(saved.shape)}, not {list(target.shape)}")
                if not target.numel():
                    continue
                begin, _ = self._archive.place(file, saved.storage.member)
                file.seek(begin + saved.offset * saved.storage.dtype.itemsize)
                values = bytearray(saved.bytes)
                if file.readinto(values) < len(values):
                    raise ValueError(f"{self.path} cannot be read: it ends in the middle: cut short")
                target.copy_(torch.frombuffer(values, dtype=saved.storage.dtype).view(saved.shape))

    def values(self, saved: SavedTensor, most: int) -> Tensor:
        """Reads the values of a small tensor.

        Raises:
            ValueError: it has more than `most` values, or as `fill`.
        """
        if math.prod(saved.shape) > most:
            raise ValueError(f"{self.path}: a tensor has shape {list(saved.shape)}, more than {most} values")
        found = torch.zeros(saved.shape)
        self.fill([(saved, found)])
        return found


def _storage(said: Any, archive: Archive) -> Storage:
    """Finds the storage for a persistent id of `torch.save`: ("storage", type, key, device, number of values)."""
    if not isinstance(said, tuple) or len(said) != 5 or said[0] != "storage":
        raise ValueError("its pickle refers to something that is not a tensor's storage")
    _, kind, key, _, count = said
    dtype = _TYPES.get(kind.name) if isinstance(kind, PickledName) and kind.module == "torch" else None
    if dtype is None or not isinstance(key, str) or not key.isdecimal():
        raise ValueError("its pickle refers to a storage of a type that is not known here")
    if type(count) is not int or count < 0:
        raise ValueError(f"the storage {key!r:.40} has an invalid number of values")
    if (member := archive.members.get(f"data/{key}")) is None:
        raise ValueError(f"the storage {key!r:.40} is missing: cut short")
    if member.size != count * dtype.itemsize:
        raise ValueError(f"the storage {key!r:.40} claims {count} values and has {member.size} bytes")
    return Storage(f"data/{key}", dtype, count)


def _tensor(arguments: tuple[Any, ...]) -> SavedTensor:
    """Handles the arguments of `torch._utils._rebuild_tensor_v2`: storage, offset, size, stride, and others not needed."""
    if len(arguments) not in (6, 7) or not isinstance(arguments[0], Storage):
        raise ValueError("it has an invalid tensor")
    storage, offset, shape, strides = arguments[:4]
    if not (_counts(shape) and _counts(strides) and len(shape) == len(strides) and _counts((offset,))):
        raise ValueError("it has a tensor of an invalid size")
    expected, values = [], 1
    for length in reversed(shape):
        expected.append(values)
        values *= length
    # Other strides could make few bytes into many values: a stride of 0 repeats one value.
    plain = all(stride == due or length == 1 for stride, due, length in zip(strides, reversed(expected), shape, strict=True))
    if values and not plain:
        raise ValueError(f"it has a tensor of shape {list(shape)} whose values do not lie in order")
    if offset + values > storage.count:
        raise ValueError(f"it has a tensor of shape {list(shape)} in a storage of {storage.count} values")
    return SavedTensor(storage, offset, shape)


def _counts(found: Any) -> bool:
    whole = isinstance(found, tuple) and len(found) <= _MOST_DIMENSIONS
    return whole and all(type(one) is int and 0 <= one < 2**48 for one in found)


def _parameter(arguments: tuple[Any, ...]) -> SavedTensor:
    if len(arguments) != 3 or not isinstance(arguments[0], SavedTensor):
        raise ValueError("it has an invalid parameter")
    return arguments[0]


def _dict(arguments: tuple[Any, ...]) -> dict[Any, Any]:
    """Makes a dict for an OrderedDict, Counter or defaultdict; later instructions fill it."""
    if any(not isinstance(one, PickledName | Inert) for one in arguments):
        raise ValueError("it has an invalid dict")
    return {}


def _bytes(arguments: tuple[Any, ...]) -> Inert:
    """Handles bytes, which protocol 2 writes as text. No policy needs them, so the content is dropped."""
    if len(arguments) != 2 or not isinstance(arguments[0], str) or arguments[1] != "latin1":
        raise ValueError("it has invalid bytes")
    return Inert(_ENCODE, ())


_ENCODE = PickledName("_codecs", "encode")
_KNOWN: Mapping[PickledName, Maker | None] = {
    PickledName("torch._utils", "_rebuild_tensor_v2"): _tensor,
    PickledName("torch._utils", "_rebuild_parameter"): _parameter,
    _ENCODE: _bytes,
    **{PickledName("collections", name): _dict for name in ("OrderedDict", "defaultdict", "Counter")},
    **{PickledName("torch", name): None for name in (*_TYPES, "device")},
    # Types, by their names.
    PickledName("dill._dill", "_load_type"): None,
    **{
        PickledName("__builtin__", name): None
        for name in ("dict", "list", "int", "float", "str", "unicode", "bool", "tuple")
    },
    **{PickledName("typing", name): None for name in ("Any", "Dict", "List", "Tuple", "Union", "Optional")},
    **{PickledName("pathlib", name): None for name in ("Path", "PosixPath", "PurePosixPath", "WindowsPath")},
    # Configurations.
    PickledName("omegaconf.dictconfig", "DictConfig"): None,
    PickledName("omegaconf.listconfig", "ListConfig"): None,
    **{PickledName("omegaconf.base", name): None for name in ("Metadata", "ContainerMetadata")},
    **{
        PickledName("omegaconf.nodes", f"{name}Node"): None
        for name in ("Any", "Integer", "Float", "String", "Boolean", "Bytes", "Path", "InterpolationResult")
    },
    # numpy's numbers, which some trainings also store.
    **{PickledName(f"numpy.{core}.multiarray", "scalar"): None for core in ("core", "_core")},
    PickledName("numpy", "dtype"): None,
}

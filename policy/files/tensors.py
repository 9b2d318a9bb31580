"""Reads safetensors files: checks the header against the file size and the limits before creating a tensor."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError, with_config
from safetensors import SafetensorError, safe_open
from torch import Tensor

from paradp.policy.files.limits import HEADER_BYTES
from paradp.policy.files.reading import first_problem, open_regular, parse_json

# Bytes of a value. Quantised types are not supported.
ITEM_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1}
METADATA = "__metadata__"
Count = Annotated[int, Field(ge=0, strict=True)]
Shape = tuple[int, ...]


@with_config(ConfigDict(extra="forbid"))
@dataclass(frozen=True)
class StoredTensor:
    """One entry of a header.

    Attributes:
        dtype: the format's name of the type, such as `F32`.
        shape: shape of the tensor.
        data_offsets: its first byte and the one after its last, counted from the end of the header.
    """

    dtype: Annotated[str, BeforeValidator(lambda name: _known(name))]
    shape: Annotated[tuple[Count, ...], Field(max_length=8)]
    data_offsets: tuple[Count, Count]

    @property
    def bytes(self) -> int:
        return math.prod(self.shape) * ITEM_BYTES[self.dtype]


@dataclass(frozen=True)
class TensorFile:
    """A safetensors file with a valid header.

    Attributes:
        path: the file.
        tensors: name → header entry.
        metadata: name → text; empty if the file has none.
    """

    path: Path
    tensors: dict[str, StoredTensor]
    metadata: dict[str, str]

    @classmethod
    def open(cls, path: Path, most_bytes: int) -> "TensorFile":
        """Reads the header only.

        Raises:
            ValueError: the file is not safetensors, is truncated or too large, or its header is inconsistent.
            OSError: the file is missing or cannot be read.
        """
        with open_regular(path, most_bytes) as (file, size):
            length = int.from_bytes(file.read(8), "little")
            try:
                if not 2 <= length <= min(HEADER_BYTES, size - 8):
                    raise ValueError(f"its header should have {length} bytes: cut short, or no safetensors file")
                header = parse_json(file.read(length))
                metadata = _METADATA.validate_python(header.pop(METADATA, {}) if isinstance(header, dict) else header)
                tensors = _TENSORS.validate_python(header)
                _check_layout(tensors, size - 8 - length)
            except ValidationError as error:
                raise ValueError(f"{path} cannot be read: its header: {first_problem(error)}") from error
            except ValueError as error:
                raise ValueError(f"{path} cannot be read: {error}") from error
        return cls(path, tensors, metadata)

    def check_shapes(self, expected: Mapping[str, Shape]) -> None:
        """Compares names and shapes with the expected ones, before any tensor is allocated.

        Raises:
            ValueError: a tensor is missing, unexpected, or has another shape; the message names the first one.
        """
        for name, shape in expected.items():
            if name not in self.tensors:
                raise ValueError(f"the tensor {name!r} is missing")
            if (stored := self.tensors[name].shape) != tuple(shape):
                raise ValueError(f"the tensor {name!r} has shape {list(stored)}, not {list(shape)}")
        if extra := next((name for name in self.tensors if name not in expected), None):
            raise ValueError(f"the tensor {extra!r:.80} is not expected")

    @torch.no_grad()
    def fill(self, targets: Mapping[str, Tensor], partly: bool = False) -> None:
        """Copies the stored values into tensors of the same names and shapes, and converts their types.

        Args:
            targets: name → tensor.
            partly: the file may contain further tensors.

        Raises:
            ValueError: names or shapes differ, or the file cannot be read, for example because it was changed meanwhile.
        """
        others = {name: one.shape for name, one in self.tensors.items() if name not in targets} if partly else {}
        self.check_shapes(others | {name: tuple(target.shape) for name, target in targets.items()})
        try:
            with safe_open(self.path, "pt") as file:
                for name, target in targets.items():
                    target.copy_(file.get_tensor(name))
        except (SafetensorError, OSError) as error:
            raise ValueError(f"it cannot be read: {error}") from error


_TENSORS: TypeAdapter[dict[str, StoredTensor]] = TypeAdapter(dict[str, StoredTensor])
_METADATA: TypeAdapter[dict[str, str]] = TypeAdapter(dict[str, str])


def _known(name: Any) -> Any:
    if name not in ITEM_BYTES:
        raise ValueError(f"{name!r:.40} is not a type of value that is read; there are: {', '.join(ITEM_BYTES)}")
    return name


def _check_layout(tensors: Mapping[str, StoredTensor], size: int) -> None:
    """Checks that the tensors fill the rest of the file without gaps or overlaps."""
    place = 0
    for name, tensor in sorted(tensors.items(), key=lambda item: item[1].data_offsets):
        begin, end = tensor.data_offsets
        if begin != place or end - begin != tensor.bytes:
            raise ValueError(f"the tensor {name!r:.80} has a length that does not fit its shape, or a wrong offset")
        place = end
    if place != size:
        raise ValueError(f"its tensors take {place} bytes, and the file has {size}: cut short")

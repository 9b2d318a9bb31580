"""Writes safetensors files atomically."""

from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from paradp.policy.files.writing import written_whole


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Writes a safetensors file atomically: a reader opens either the old file or the new one.

    Raises:
        OSError: the file cannot be written, for example on a full disk; the old one is kept.
    """
    with written_whole(path) as partial:
        try:
            save_file({n: t.contiguous().cpu() for n, t in tensors.items()}, partial, dict(metadata) if metadata else None)
        except SafetensorError as error:
            raise OSError(f"{path} cannot be written: {error}") from error

"""Writing tensors whole."""

from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from paradp.policy.files.writing import written_whole


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Writes a safetensors file so that a reader sees the old one or the new one.

    Raises:
        OSError: the file cannot be written, such as on a full disk; the old one is kept.
    """
    with written_whole(path) as partial:
        try:
            save_file({n: t.contiguous().cpu() for n, t in tensors.items()}, partial, dict(metadata) if metadata else None)
        except SafetensorError as error:
            raise OSError(f"{path} cannot be written: {error}") from error

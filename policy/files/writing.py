"""Writing files whole."""

import os
from pathlib import Path


def write_whole(path: Path, content: bytes) -> None:
    """Writes a file so that a reader sees the old content or the new one, even if the process is killed meanwhile.

    Raises:
        OSError: the file cannot be written, such as on a full disk; the old one is kept.
    """
    partial = path.with_name(f".{path.name}.partial-{os.getpid()}")
    try:
        partial.write_bytes(content)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)

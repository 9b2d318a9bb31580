"""Builds hostile files for `read_diffusion_policy`, and checks its answers."""

import os
import struct
import tracemalloc
import zipfile
from pathlib import Path

import pytest

from paradp.bridges import read_diffusion_policy

TWO = b"\x80\2"
MEMORY = 128 * 2**20


def text(value: str) -> bytes:
    """Encodes a text as in pickle protocol 2."""
    raw = value.encode()
    return b"X" + struct.pack("<I", len(raw)) + raw


def in_zip(path: Path, raw: bytes, **others: bytes) -> Path:
    """Makes a file like torch.save's with this pickle."""
    with zipfile.ZipFile(path, "w") as whole:
        whole.writestr("archive/data.pkl", raw)
        for name, content in ({"data/0": bytes(16)} | others).items():
            whole.writestr(f"archive/{name}", content)
    return path


def canary(folder: Path) -> Path:
    return folder / "it-ran"


class Reduces:
    """Runs a command when it is unpickled."""

    def __init__(self, command: str):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


def touch(folder: Path) -> str:
    return f"touch {canary(folder)}"


def refused(path: Path) -> str:
    """The error message about a file: one sentence that names it."""
    tracemalloc.start()
    try:
        with pytest.raises(ValueError) as error:
            read_diffusion_policy(path)
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert most < MEMORY + 4 * path.stat().st_size
    said = str(error.value)
    assert said.startswith(str(path)) and len(said.splitlines()) == 1 and len(said) < 400
    return said

"""Files are written atomically: through no link that leads out of the folder, with the right names, without left-overs."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from paradp.policy.files import OutputLock, write_whole
from paradp.policy.files.tensor_writing import write_tensors
from paradp.policy.files.writing import written_whole

WRITERS = {
    "JSON": lambda path: write_whole(path, b'{"new": true}'),
    "tensors": lambda path: write_tensors(path, {"new": torch.ones(2)}),
    "a picture": lambda path: write_whole(path, b"\x89PNG new"),
}


@pytest.mark.parametrize("there", [True, False], ids=["a file", "nothing yet"])
@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_a_link_inside_its_folder_is_written_through(tmp_path, write, there):
    """Through a second link: both links stay, and their target is written."""
    inner = tmp_path / "inner"
    inner.mkdir()
    if there:
        (inner / "file").write_bytes(b"old")
    (inner / "second").symlink_to("file")
    (tmp_path / "first").symlink_to("inner/second")
    write(tmp_path / "first")
    write(tmp_path / "plain")
    assert (tmp_path / "first").is_symlink() and (inner / "second").is_symlink()
    assert (inner / "file").read_bytes() == (tmp_path / "plain").read_bytes() != b"old"
    files = [path for path in tmp_path.rglob("*") if path.is_file() and not path.is_symlink()]
    assert sorted(path.name for path in files) == ["file", "plain"]


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_a_link_that_leads_out_of_its_folder_is_replaced(tmp_path, write):
    """A foreign folder must not lead to the user's files or to a device."""
    out, pipe, secret = tmp_path / "out", tmp_path / "pipe", tmp_path / "secret"
    out.mkdir()
    os.mkfifo(pipe)
    secret.write_bytes(b"mine")
    targets = {"file": secret, "pipe": pipe, "folder": tmp_path, "nothing": tmp_path / "none", "circle": out / "circle"}
    for name, target in targets.items():
        (out / name).symlink_to(target)
        write(out / name)
    assert secret.read_bytes() == b"mine" and pipe.is_fifo() and not (tmp_path / "none").exists()
    assert all((out / name).is_file() and not (out / name).is_symlink() for name in targets)
    (out / "a-pipe-here").symlink_to(out / "pipe-here")
    os.mkfifo(out / "pipe-here")
    write(out / "a-pipe-here")
    assert (out / "pipe-here").is_fifo() and not (out / "a-pipe-here").is_symlink()


def test_the_error_of_a_full_disk_names_the_file(tmp_path):
    """The system's error of a full disk names no file."""
    with pytest.raises(OSError, match="No space left on device") as failed, written_whole(tmp_path / "it.json") as partial:
        partial.write_bytes(b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert failed.value.filename == str(tmp_path / "it.json") and not list(tmp_path.iterdir())


@pytest.fixture
def killed(tmp_path):
    """A process that is killed while it writes into a folder, and leaves an incomplete file."""

    def leave(path: Path) -> Path:
        program = f"""
import os, signal
from pathlib import Path
from paradp.policy.files.writing import written_whole
with written_whole(Path({str(path)!r})) as partial:
    partial.write_bytes(b"half")
    os.kill(os.getpid(), signal.SIGKILL)
"""
        path.parent.mkdir(parents=True, exist_ok=True)
        before = set(path.parent.iterdir())
        subprocess.run([sys.executable, "-c", program], check=False)
        (left,) = set(path.parent.iterdir()) - before
        return left

    return leave


def test_the_next_writer_removes_what_a_killed_process_was_writing(tmp_path, killed):
    left = killed(tmp_path / "state.safetensors")
    mine = tmp_path / f".summary.json.partial-{os.getpid()}"
    mine.touch()
    OutputLock.inside(tmp_path).release()
    assert not left.exists() and mine.exists()

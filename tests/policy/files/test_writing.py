"""Files are written whole: through links, in their own names, and with nothing left over."""

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
def test_a_link_is_written_through(tmp_path, write, there):
    """A link to another folder, over a second link: both stay, and the file that they lead to is written."""
    out, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    out.mkdir(), elsewhere.mkdir()
    if there:
        (elsewhere / "file").write_bytes(b"old")
    (elsewhere / "second").symlink_to("file")
    (out / "first").symlink_to("../elsewhere/second")
    write(out / "first")
    write(tmp_path / "plain")
    assert (out / "first").is_symlink() and (elsewhere / "second").is_symlink()
    assert (elsewhere / "file").read_bytes() == (tmp_path / "plain").read_bytes() != b"old"
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file() and not path.is_symlink()) == ["file", "plain"]


def test_a_link_that_leads_in_a_circle_is_refused(tmp_path):
    (tmp_path / "here").symlink_to("there")
    (tmp_path / "there").symlink_to("here")
    with pytest.raises(OSError, match="here") as refused:
        write_whole(tmp_path / "here", b"new")
    assert refused.value.errno == errno.ELOOP and (tmp_path / "here").is_symlink()


def test_a_full_disk_is_told_of_in_the_name_of_the_file(tmp_path):
    """The system names no file where a write finds the disk full."""
    with pytest.raises(OSError, match="No space left on device") as failed, written_whole(tmp_path / "it.json") as partial:
        partial.write_bytes(b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert failed.value.filename == str(tmp_path / "it.json") and not list(tmp_path.iterdir())


@pytest.fixture
def killed(tmp_path):
    """A process that is killed while it writes below a folder, and leaves half a file there."""

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


def test_what_a_killed_process_was_writing_is_cleared_away_by_the_next_writer(tmp_path, killed):
    left = killed(tmp_path / "state.safetensors")
    mine = tmp_path / f".summary.json.partial-{os.getpid()}"
    mine.touch()
    OutputLock.inside(tmp_path).release()
    assert not left.exists() and mine.exists()

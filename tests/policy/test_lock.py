"""One writer for each output, among threads and processes; the lock ends with its owner."""

import errno
import gc
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from filelock import FileLock, Timeout

from paradp.policy.data.demonstrations import Demonstrations
from paradp.policy.files import OutputLock, lock, refuse_filled

# Holds a lock, and starts a process that outlives it.
HOLDER = """
import subprocess, sys, time
from pathlib import Path
from paradp.policy.files.lock import OutputLock

lock = OutputLock.inside(Path(sys.argv[1]))
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], stdout=subprocess.DEVNULL)
print(child.pid, flush=True)
time.sleep(600)
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that holds `tmp_path / "out"`, and its child."""
    process = subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path / "out")], stdout=subprocess.PIPE, text=True)
    child = int(process.stdout.readline())
    yield process
    process.kill()
    process.communicate()
    os.kill(child, signal.SIGKILL)


def test_the_second_process_learns_who_writes_and_continues_when_that_one_is_killed(holder, tmp_path):
    out = tmp_path / "out"
    with pytest.raises(ValueError, match=rf"out is being written by process {holder.pid} \(since 20.*another --out"):
        OutputLock.inside(out)
    holder.kill()
    holder.wait()
    # The child of the one that was killed is still alive.
    with OutputLock.inside(out):
        pass


def test_a_forked_process_neither_holds_nor_keeps_a_lock(tmp_path):
    """It inherits its parent's memory and open files."""
    held = OutputLock.inside(tmp_path)
    to_parent, to_child = os.pipe(), os.pipe()
    if (child := os.fork()) == 0:
        try:
            OutputLock.inside(tmp_path)
            os.write(to_parent[1], b"took")
        except ValueError:
            os.write(to_parent[1], b"kept out")
        os.read(to_child[0], 1)
        os._exit(0)
    try:
        assert os.read(to_parent[0], 10) == b"kept out"
        held.release()
        other = [
            sys.executable,
            "-c",
            "import sys; from pathlib import Path; from paradp.policy.files.lock import OutputLock",
        ]
        other[-1] += "; OutputLock.inside(Path(sys.argv[1])).release()"
        subprocess.run([*other, str(tmp_path)], check=True, timeout=120)
    finally:
        os.write(to_child[1], b".")
        os.waitpid(child, 0)


def test_another_thread_is_locked_out_but_not_the_same_one(tmp_path):
    refused = []

    def other():
        try:
            OutputLock.inside(tmp_path).release()
        except ValueError as error:
            refused.append(str(error))

    def try_in_a_thread():
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()

    with OutputLock.inside(tmp_path):
        with OutputLock.inside(tmp_path / "." / ".." / tmp_path.name):
            pass
        try_in_a_thread()
        assert len(refused) == 1 and "another thread of this process" in refused[0]
    try_in_a_thread()
    assert len(refused) == 1


def test_an_unreferenced_lock_is_released(tmp_path):
    OutputLock.beside(tmp_path / "x.zarr")
    gc.collect()
    assert not lock._held and not (tmp_path / ".x.zarr.lock").exists()
    with FileLock(tmp_path / ".x.zarr.lock", blocking=False), pytest.raises(ValueError, match="is being written by"):
        OutputLock.beside(tmp_path / "x.zarr")


def test_a_link_has_the_lock_of_its_target(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    (tmp_path / "elsewhere").symlink_to(tmp_path / "not" / "yet")
    for name, real in (("link", tmp_path / "real"), ("elsewhere", tmp_path / "not" / "yet")):
        with OutputLock.beside(tmp_path / name):
            carrier = real.with_name(f".{real.name}.lock")
            assert carrier.exists() and not (tmp_path / f".{name}.lock").exists()
        with FileLock(carrier, blocking=False), pytest.raises(ValueError, match=f"{name} is being written by"):
            OutputLock.beside(tmp_path / name)


def test_a_link_to_a_missing_target_creates_it(tmp_path, info):
    (tmp_path / "there").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "there" / "demos.zarr")
    Demonstrations.open_or_create(tmp_path / "link", info).close()
    assert (tmp_path / "link").is_symlink() and len(Demonstrations.open(tmp_path / "there" / "demos.zarr")) == 0


def test_an_output_that_was_moved_does_not_take_the_lock_of_the_next_one(tmp_path):
    first = OutputLock.inside(tmp_path / "out")
    (tmp_path / "out").rename(tmp_path / "moved")
    second = OutputLock.inside(tmp_path / "out")
    first.release()
    carrier = tmp_path / "out" / lock.LOCK_NAME
    with pytest.raises(Timeout):
        FileLock(carrier, blocking=False).acquire()
    second.release()
    assert not carrier.exists() and not lock._held


COUNTING = """
import sys
from pathlib import Path
from paradp.policy.files.lock import OutputLock

done, total = 0, Path(sys.argv[1], "total")
while done < int(sys.argv[2]):
    try:
        with OutputLock.inside(total.parent):
            total.write_text(str(int(total.read_text()) + 1))
        done += 1
    except ValueError:
        pass
"""


def test_two_processes_never_hold_a_lock_whose_file_is_removed_with_every_release(tmp_path):
    (tmp_path / "total").write_text("0")
    counters = [subprocess.Popen([sys.executable, "-c", COUNTING, tmp_path, "300"]) for _ in range(3)]
    assert [counter.wait(120) for counter in counters] == [0, 0, 0]
    assert (tmp_path / "total").read_text() == "900"


def test_a_file_system_without_locks_is_reported(tmp_path, monkeypatch, caplog):
    def acquire(self, *args, **kwargs):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(FileLock, "acquire", acquire)
    with OutputLock.inside(tmp_path):
        pass
    assert "a file system without locks: make sure that nothing else writes there" in caplog.text


def test_a_path_that_cannot_be_written_is_named(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=r"cannot write there .*file/out"):
        OutputLock.inside(tmp_path / "file" / "out")

    def acquire(self, *args, **kwargs):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(self.lock_file))

    monkeypatch.setattr(FileLock, "acquire", acquire)
    with pytest.raises(OSError, match=r"cannot write there \(Read-only file system\)"):
        OutputLock.inside(tmp_path)


def test_hidden_files_do_not_count_in_a_directory(tmp_path):
    (tmp_path / ".DS_Store").touch()
    refuse_filled(tmp_path, "run")
    refuse_filled(tmp_path / "new", "run")
    (tmp_path / "thesis.tex").touch()
    for path, message in ((tmp_path, "is not empty and holds no run"), (tmp_path / "thesis.tex", "is a file")):
        with pytest.raises(ValueError, match=message):
            refuse_filled(path, "run")


def test_demonstrations_have_one_writer(demonstrations, info):
    refused = []

    def other():
        with pytest.raises(ValueError, match="is being written by another thread"):
            Demonstrations.open_or_create(demonstrations.path, info)
        refused.append(len(Demonstrations.open(demonstrations.path)))

    thread = threading.Thread(target=other)
    thread.start()
    thread.join()
    assert refused == [6]
    assert {path.name for path in Path(demonstrations.path).parent.iterdir()} <= {"demos.zarr", ".demos.zarr.lock"}

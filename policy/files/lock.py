"""Locks, so that each output has at most one writer.

A lock is a kernel file lock (`flock`, through the package `filelock`). The kernel releases it when its process ends, even
when the process is killed. The lock file contains the holder's process id, host and start time. It is deleted before the
lock is released. `filelock` refuses a deleted file, so two processes never hold two files of the same name. A killed process
leaves its lock file behind; that is harmless.
"""

import contextlib
import errno
import logging
import os
import socket
import threading
import weakref
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from filelock import FileLock, Timeout

from paradp.policy.files.writing import remove_left_overs

# Name of the lock file in a locked directory. `refuse_filled` ignores it, because it begins with a dot.
LOCK_NAME = ".paradp.lock"
# Error codes of file systems that do not support locks: some network file systems, and FUSE.
_NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL)
_LOG = logging.getLogger(__name__)


class OutputLock:
    """Makes this thread the only writer of an output until `release` is called; also a context manager.

    A thread may lock the same output several times; the output stays locked until the last of these locks is released.
    Garbage collection releases a lock, too.

    Args:
        output: the file or directory to write; error messages name it.
        file: the lock file; its directory must exist.

    Raises:
        ValueError: another process or thread is writing the output; the message names it.
        OSError: the lock file cannot be created, for example in a read-only directory.
    """

    def __init__(self, output: Path, file: Path):
        held = _take(os.path.realpath(file), output, file)
        self.release = weakref.finalize(self, _give_back, held)

    @classmethod
    def inside(cls, directory: Path) -> "OutputLock":
        """Locks a directory, with the lock file in it.

        Creates the directory if needed, and deletes temporary files that killed processes left there.
        """
        try:
            directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _unwritable(directory, error) from error
        lock = cls(directory, directory / LOCK_NAME)
        remove_left_overs(directory)
        return lock

    @classmethod
    def beside(cls, output: Path) -> "OutputLock":
        """Locks a file or directory, with the lock file beside it. The output need not exist yet.

        Symbolic links are resolved first, so that all names of an output share one lock.
        """
        place = Path(os.path.realpath(output))
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _unwritable(output, error) from error
        return cls(output, place.with_name(f".{place.name}.lock"))

    def __enter__(self) -> "OutputLock":
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def refuse_filled(directory: Path, kind: str) -> None:
    """Checks that a directory is empty or does not exist. Hidden files do not count.

    Args:
        directory: where a command wants to write.
        kind: the kind of output that was not found there, for the message.

    Raises:
        ValueError: the directory contains files, or the path is a file.
    """
    if directory.exists() and not directory.is_dir():
        raise ValueError(f"{directory} is a file; choose another --out")
    if directory.exists() and any(not path.name.startswith(".") for path in directory.iterdir()):
        if inner := sorted(directory.glob("*/run.json")):
            raise ValueError(f"{directory} holds several runs, such as {inner[0].parent}; choose another --out")
        raise ValueError(f"{directory} is not empty and holds no {kind}; choose another --out")


@dataclass
class _Held:
    """A lock that this process holds.

    Attributes:
        key: real path of the lock file at the time of locking.
        lock: the kernel lock; `None` where the file system does not support locks.
        file: device and inode of the lock file. They detect that the output was moved, and that a new one has its name.
        process, thread: the holder.
        count: how many times the holder has locked it.
    """

    key: str
    lock: FileLock | None
    file: tuple[int, int] | None
    process: int
    thread: int
    count: int = 1

    @property
    def in_place(self) -> bool:
        """Whether the path still leads to this lock file; always true on file systems without locks."""
        return self.file is None or _inode(self.key) == self.file


_held: dict[str, _Held] = {}
# Reentrant: the garbage collector may release a lock at any time.
_guard = threading.RLock()


def _take(key: str, output: Path, file: Path) -> _Held:
    with _guard:
        held = _held.get(key)
        # A forked process inherits this table, but not the locks.
        if held is None or held.process != os.getpid() or not held.in_place:
            _held[key] = held = _acquire(key, output, file)
        elif held.thread != threading.get_ident():
            raise ValueError(f"{output} is being written by another thread of this process; let it finish first")
        else:
            held.count += 1
        return held


def _give_back(held: _Held) -> None:
    with _guard:
        if held.process != os.getpid():
            return
        held.count -= 1
        if held.count == 0:
            if _held.get(held.key) is held:
                del _held[held.key]
            if held.lock is not None:
                if held.in_place:
                    with contextlib.suppress(OSError):
                        os.unlink(held.key)
                held.lock.release()


def _acquire(key: str, output: Path, file: Path) -> _Held:
    files: list[tuple[int, int]] = []

    def on_acquired(descriptor: int) -> None:
        found = os.fstat(descriptor)
        files.append((found.st_dev, found.st_ino))
        _sign(descriptor)

    lock = FileLock(file, thread_local=False, fallback_to_soft=False, on_acquired=on_acquired)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        raise ValueError(
            f"{output} is being written by {_owner(file)}; wait until it has finished, or choose another --out"
        ) from None
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise _unwritable(output, error) from error
        # No fallback to another kind of lock: it would outlive a killed process.
        _LOG.warning("%s is on a file system without locks: make sure that nothing else writes there", output)
        return _Held(key, None, None, os.getpid(), threading.get_ident())
    return _Held(key, lock, files[-1], os.getpid(), threading.get_ident())


def _inode(path: str) -> tuple[int, int] | None:
    """Device and inode of a file; `None` if it does not exist."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _sign(descriptor: int) -> None:
    """Writes the holder into the lock file. On a full disk the file stays empty; the lock works all the same."""
    with contextlib.suppress(OSError):
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()} {socket.gethostname()} {datetime.now():%Y-%m-%d %H:%M:%S}\n".encode(), 0)


def _owner(file: Path) -> str:
    try:
        pid, host, since = file.read_text().strip().split(" ", 2)
    except (OSError, ValueError):
        return "another process"
    elsewhere = f" on {host}" * (host != socket.gethostname())
    return f"process {pid}{elsewhere} (since {since})"


def _unwritable(output: Path, error: OSError) -> OSError:
    return OSError(error.errno, f"cannot write there ({error.strerror})", str(output))

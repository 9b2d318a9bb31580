"""One writer for each output.

The lock is the kernel's (`flock`, by the package `filelock`): it ends with the process that holds it, even if that is
killed. The file that carries it says who holds it, and is removed before the lock is released: `filelock` takes no lock on a
file that was removed meanwhile, so that two processes never hold two files of the same name. A killed process leaves its
file behind, which does no harm.
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

# Inside of a directory. Its dot keeps it out of the checks that a directory is empty.
LOCK_NAME = ".paradp.lock"
# What file systems answer that have no locks: some network file systems, and FUSE.
_NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL)
_LOG = logging.getLogger(__name__)


class OutputLock:
    """Makes this thread the only writer of an output, until `release`; a context manager, too.

    The thread that holds an output may lock it again, and holds it until the last lock is released. A lock that is garbage
    collected is released.

    Args:
        output: what is written; named in errors.
        file: carries the lock; its directory must exist.

    Raises:
        ValueError: another process or thread writes there; the message says which.
        OSError: the file cannot be made, such as in a read-only directory.
    """

    def __init__(self, output: Path, file: Path):
        held = _take(os.path.realpath(file), output, file)
        self.release = weakref.finalize(self, _give_back, held)

    @classmethod
    def inside(cls, directory: Path) -> "OutputLock":
        """Locks a directory, which is made if there is none, and clears it of what killed processes were writing there.

        The file lies in it.
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
        """Locks what need not exist yet, or whose inside is another format's; the file lies beside it.

        A link is locked as what it leads to, so that an output has one lock under all its names.
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
    """Refuses a directory with something in it, where none of our outputs of that kind is. Hidden files do not count.

    Raises:
        ValueError: it is not empty, or a file.
    """
    if directory.exists() and not directory.is_dir():
        raise ValueError(f"{directory} is a file; choose another --out")
    if directory.exists() and any(not path.name.startswith(".") for path in directory.iterdir()):
        if inner := sorted(directory.glob("*/run.json")):
            raise ValueError(f"{directory} holds several runs, such as {inner[0].parent}; choose another --out")
        raise ValueError(f"{directory} is not empty and holds no {kind}; choose another --out")


@dataclass
class _Held:
    """A lock of this process.

    Attributes:
        key: the real path of its file, when it was taken.
        lock: `None` where the file system has none.
        file: device and inode of its file: the output may be moved meanwhile, and another one locked under its name.
    """

    key: str
    lock: FileLock | None
    file: tuple[int, int] | None
    process: int
    thread: int
    count: int = 1

    @property
    def in_place(self) -> bool:
        """Whether its file still has its name; where there are no locks, nothing says otherwise."""
        return self.file is None or _inode(self.key) == self.file


_held: dict[str, _Held] = {}
# Reentrant: the garbage collector may release a lock at any time.
_guard = threading.RLock()


def _take(key: str, output: Path, file: Path) -> _Held:
    with _guard:
        held = _held.get(key)
        # A forked process inherits what is noted here, and holds none of it.
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
        # A lock of another kind would outlive a killed process.
        _LOG.warning("%s lies on a file system without locks: make sure that nothing else writes there", output)
        return _Held(key, None, None, os.getpid(), threading.get_ident())
    return _Held(key, lock, files[-1], os.getpid(), threading.get_ident())


def _inode(path: str) -> tuple[int, int] | None:
    """Device and inode of a file; `None` where there is none."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _sign(descriptor: int) -> None:
    """Says in the file who holds it. On a full disk it stays empty, and the lock holds all the same."""
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

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
        key = os.path.realpath(file)
        _take(key, output, file)
        self.release = weakref.finalize(self, _give_back, key)

    @classmethod
    def inside(cls, directory: Path) -> "OutputLock":
        """Locks a directory, which is made if there is none; the file lies in it."""
        try:
            directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _unwritable(directory, error) from error
        return cls(directory, directory / LOCK_NAME)

    @classmethod
    def beside(cls, output: Path) -> "OutputLock":
        """Locks what need not exist yet, or whose inside is another format's; the file lies beside it."""
        try:
            output.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _unwritable(output, error) from error
        return cls(output, output.with_name(f".{output.name}.lock"))

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
    """A lock of this process; `lock` is `None` where the file system has none."""

    lock: FileLock | None
    process: int
    thread: int
    count: int = 1


_held: dict[str, _Held] = {}
# Reentrant: the garbage collector may release a lock at any time.
_guard = threading.RLock()


def _take(key: str, output: Path, file: Path) -> None:
    with _guard:
        held = _held.get(key)
        # A forked process inherits what is noted here, and holds none of it.
        if held is None or held.process != os.getpid():
            _held[key] = _Held(_acquire(output, file), os.getpid(), threading.get_ident())
        elif held.thread != threading.get_ident():
            raise ValueError(f"{output} is being written by another thread of this process; let it finish first")
        else:
            held.count += 1


def _give_back(key: str) -> None:
    with _guard:
        held = _held.get(key)
        if held is None or held.process != os.getpid():
            return
        held.count -= 1
        if held.count == 0:
            del _held[key]
            if held.lock is not None:
                with contextlib.suppress(OSError):
                    os.unlink(key)
                held.lock.release()


def _acquire(output: Path, file: Path) -> FileLock | None:
    lock = FileLock(file, thread_local=False, fallback_to_soft=False, on_acquired=_sign)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        raise ValueError(
            f"{output} is being written by {_owner(file)}; wait until it has finished, or choose another --out"
        ) from None
    except OSError as error:
        if error.errno in _NO_LOCKS:
            # A lock of another kind would outlive a killed process.
            _LOG.warning("%s lies on a file system without locks: make sure that nothing else writes there", output)
            return None
        raise _unwritable(output, error) from error
    return lock


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

"""Memory limits: for a library that allocates a declared size before we can check it, and for data to be loaded."""

import resource
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from paradp.policy.files.limits import GIB, KIB

_STATUS = Path("/proc/self/statm")
_MACHINE = Path("/proc/meminfo")
_CONTAINER = Path("/sys/fs/cgroup")
# The limit applies to the whole process, so only one thread at a time may set and restore it.
_one_at_a_time = threading.Lock()


@contextmanager
def at_most(more_bytes: int) -> Iterator[None]:
    """Within this context, the process can allocate at most `more_bytes` bytes in addition to its present memory.

    The system refuses larger allocations before any page is touched; h5py then raises an OSError. The limit also applies to
    other threads: keep the context short, and the limit large enough for them. Without Linux's `/proc` there is no limit.

    Raises:
        ValueError: Python itself could not allocate memory.
    """
    with _one_at_a_time:
        before = resource.getrlimit(resource.RLIMIT_AS)
        if (taken := _address_space()) is not None:
            soft = taken + more_bytes
            soft = soft if before[0] == resource.RLIM_INFINITY else min(soft, before[0])
            resource.setrlimit(resource.RLIMIT_AS, (soft, before[1]))
        try:
            yield
        except MemoryError as error:
            raise ValueError(f"it would take more than {more_bytes} bytes of memory") from error
        finally:
            resource.setrlimit(resource.RLIMIT_AS, before)


def check_fits(needed: int, what: str, free: int | None = None, where: str = "this machine") -> None:
    """Checks that there is enough memory before it is allocated.

    Args:
        needed: required bytes.
        what: what needs them, in the plural, for the message.
        free: available bytes; by default those of this machine, if the system reports them.
        where: what has the available bytes, for the message.

    Raises:
        ValueError: there is not enough.
    """
    free = available() if free is None else free
    if free is not None and needed > free:
        raise ValueError(
            f"{what} take {needed / GIB:.2f} GiB of memory, and {where} has {free / GIB:.2f} GiB free: take fewer episodes,"
            " or smaller images"
        )


def available() -> int | None:
    """Bytes that this process can allocate without swapping, also in a container; `None` if unknown."""
    try:
        lines = dict(line.split(":", 1) for line in _MACHINE.read_text().splitlines())
        free = int(lines["MemAvailable"].split()[0]) * KIB
    except (OSError, ValueError, KeyError):
        return None
    try:
        # The system releases its file cache when memory is needed.
        most, taken = (int((_CONTAINER / name).read_text()) for name in ("memory.max", "memory.current"))
        cached = dict(line.split() for line in (_CONTAINER / "memory.stat").read_text().splitlines())["inactive_file"]
        return min(free, most - taken + int(cached))
    except (OSError, ValueError, KeyError):  # no container, or one without a limit
        return free


def _address_space() -> int | None:
    """The size of this process's address space in bytes; `None` if the system does not report it."""
    try:
        return int(_STATUS.read_text().split()[0]) * resource.getpagesize()
    except (OSError, ValueError):
        return None

"""Bounds on memory: what a library may allocate where it believes a file's claim, and what there is to load data into."""

import resource
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from paradp.policy.files.limits import GIB, KIB

_STATUS = Path("/proc/self/statm")
_MACHINE = Path("/proc/meminfo")
_CONTAINER = Path("/sys/fs/cgroup")
# The limit is the whole process's: two threads must not restore each other's.
_one_at_a_time = threading.Lock()


@contextmanager
def at_most(more_bytes: int) -> Iterator[None]:
    """While it lasts, this process gets no more than so many bytes of memory beyond what it has.

    The system refuses larger allocations before any page is touched; h5py then raises an OSError.
    Other threads are bounded, too: it should be short, and leave them room. Without Linux's `/proc` it bounds nothing.

    Raises:
        ValueError: Python itself found no memory.
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
    """Checks, before it is taken, that there is memory for something.

    Args:
        needed: bytes.
        what: needs them, in the plural.
        free: bytes; by default those of this machine, if the system says.
        where: they are free.

    Raises:
        ValueError: there is not.
    """
    free = available() if free is None else free
    if free is not None and needed > free:
        raise ValueError(
            f"{what} take {needed / GIB:.2f} GiB of memory, and {where} has {free / GIB:.2f} GiB free: take fewer episodes,"
            " or smaller images"
        )


def available() -> int | None:
    """Bytes that this process can take without swapping, in its container too; `None` where the system does not say."""
    try:
        lines = dict(line.split(":", 1) for line in _MACHINE.read_text().splitlines())
        free = int(lines["MemAvailable"].split()[0]) * KIB
    except (OSError, ValueError, KeyError):
        return None
    try:
        # What files are cached in is given back when it is needed.
        most, taken = (int((_CONTAINER / name).read_text()) for name in ("memory.max", "memory.current"))
        cached = dict(line.split() for line in (_CONTAINER / "memory.stat").read_text().splitlines())["inactive_file"]
        return min(free, most - taken + int(cached))
    except (OSError, ValueError, KeyError):  # no container, or one without a limit
        return free


def _address_space() -> int | None:
    """Bytes that this process has reserved; `None` where the system does not say."""
    try:
        return int(_STATUS.read_text().split()[0]) * resource.getpagesize()
    except (OSError, ValueError):
        return None

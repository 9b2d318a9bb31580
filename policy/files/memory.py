"""A bound on what a library may allocate, where a file's claim cannot be read before the library has believed it."""

import resource
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_STATUS = Path("/proc/self/statm")
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


def _address_space() -> int | None:
    """Bytes that this process has reserved; `None` where the system does not say."""
    try:
        return int(_STATUS.read_text().split()[0]) * resource.getpagesize()
    except (OSError, ValueError):
        return None

"""A memory limit for calls into a library that allocates a declared size before we can check it."""

import resource
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_STATUS = Path("/proc/self/statm")
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


def _address_space() -> int | None:
    """The size of this process's address space in bytes; `None` if the system does not report it."""
    try:
        return int(_STATUS.read_text().split()[0]) * resource.getpagesize()
    except (OSError, ValueError):
        return None

"""Worker processes that end with their parent, and stop early on request."""

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.synchronize import Event
from typing import Any

from paradp.policy.processes import end_with_parent, spawning

_stop: Event | None = None


class Workers:
    """A context manager with a pool of spawned processes.

    On exit it requests the workers to stop after their current step (`stopping`), cancels waiting jobs, and waits for the
    workers. An exception, such as Ctrl-C, kills them instead.

    Args:
        count: number of processes.
        initializer: called once in each process with `initargs`.

    Raises:
        ValueError: `count` is less than 1.
    """

    def __init__(self, count: int, initializer: Callable[..., None] | None = None, initargs: tuple[Any, ...] = ()):
        check_workers(count)
        context = spawning()
        self._event = context.Event()
        self.pool = ProcessPoolExecutor(count, context, _start, (self._event, initializer, initargs))

    def __enter__(self) -> ProcessPoolExecutor:
        return self.pool

    def __exit__(self, why: type[BaseException] | None, *_: object) -> None:
        self._event.set()
        if why is not None:
            for process in list((self.pool._processes or {}).values()):
                process.kill()
        self.pool.shutdown(cancel_futures=True)


def check_workers(count: int) -> None:
    """Checks the number of workers.

    Raises:
        ValueError: it is less than 1.
    """
    if not count >= 1:  # also refuses NaN
        raise ValueError(f"workers must be at least 1, not {count}")


def stopping() -> bool:
    """In a worker: whether the parent has requested it to stop."""
    return _stop is not None and _stop.is_set()


def died(what: str) -> ChildProcessError:
    """The error for a worker that was killed."""
    return ChildProcessError(f"a worker died; {what} is kept: run the same command again to continue")


def _start(event: Event, initializer: Callable[..., None] | None, initargs: tuple[Any, ...]) -> None:
    global _stop
    _stop = event
    end_with_parent()
    if initializer is not None:
        initializer(*initargs)

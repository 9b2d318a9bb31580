"""Ctrl-C while modules are imported."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

INTERRUPTED = "interrupted: what was finished is kept; run the same command again to continue"
EXIT_CODE = 130


@contextmanager
def leave_at_once() -> Iterator[None]:
    """While it lasts, Ctrl-C ends the process with one sentence.

    Packages turn a KeyboardInterrupt that meets them at import into errors of their own, or print tracebacks of callbacks.
    Nothing has been begun then, so that nothing needs to be put away.
    """
    before = signal.getsignal(signal.SIGINT)
    if before is signal.SIG_IGN or threading.current_thread() is not threading.main_thread():
        yield
        return
    signal.signal(signal.SIGINT, _leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _leave(*_: object) -> None:
    if os.isatty(1):
        os.write(1, b"\x1b[?25h\n")  # a spinner hides the cursor
    os.write(2, f"{INTERRUPTED}\n".encode())
    os._exit(EXIT_CODE)

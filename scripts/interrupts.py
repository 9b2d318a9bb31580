"""Handles Ctrl-C while modules are imported, and other signals that end a process like Ctrl-C."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

# What Ctrl-C leaves, for commands that continue, write at their end, write several files, or record while they run.
CONTINUES = "interrupted: finished work is kept; run the same command again to continue"
NOTHING_WRITTEN = "interrupted: nothing was written"
PARTLY_WRITTEN = "interrupted: outputs may be missing or incomplete; run the same command again"
STOPPED = "interrupted: a recording may be incomplete"
EXIT_CODE = 130


@contextmanager
def leave_at_once() -> Iterator[None]:
    """Within this context, Ctrl-C ends the process with one sentence.

    A KeyboardInterrupt during an import becomes another error in some packages, or a traceback from a callback. Nothing has
    started yet, so nothing needs to be cleaned up, whether the command continues earlier work or not.
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
    os.write(2, f"{NOTHING_WRITTEN}\n".encode())
    os._exit(EXIT_CODE)


@contextmanager
def ended_like_ctrl_c() -> Iterator[None]:
    """Within this context, SIGTERM and SIGHUP end the command as Ctrl-C does, so that it can stop a robot first.

    `kill`, a service manager and a lost connection send these. A signal that is ignored, as under nohup, stays ignored.
    """
    usual = [sign for sign in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(sign) is signal.SIG_DFL]
    for sign in usual:
        signal.signal(sign, _interrupt)
    try:
        yield
    finally:
        for sign in usual:
            signal.signal(sign, signal.SIG_DFL)


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt

"""What processes of a control loop need: they end with their parent, and the garbage collector leaves them alone."""

import gc
import os
import signal
import threading
from multiprocessing import parent_process


def end_with_parent() -> None:
    """To be called in a child process: it ends when its parent does, also when that is killed and cannot tell it."""
    threading.Thread(target=_wait_for_parent, daemon=True).start()


def ignore_interrupts() -> None:
    """To be called in a child process: Ctrl-C, which reaches all processes of a terminal, is its parent's to answer."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _wait_for_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def spare_garbage_collection() -> None:
    """Lets the garbage collector look no more through what is there now.

    In a process that has imported PyTorch a full collection takes hundreds of milliseconds, and comes whenever enough new
    objects have lived for long: in the middle of some control step.
    """
    gc.collect()
    gc.freeze()

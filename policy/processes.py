"""Helpers for real-time processes: child processes that end with their parent, and fewer garbage collections."""

import builtins
import gc
import os
import sys
import threading
from multiprocessing import context, parent_process
from typing import Any

# Runs in a child before its first import. The kernel kills it when its parent dies (PR_SET_PDEATHSIG), however long the
# imports take, and a Ctrl-C, which reaches all processes of a terminal, is its parent's to answer.
_FIRST = """
import ctypes, os, signal
signal.signal(signal.SIGINT, signal.SIG_IGN)
if {watch}:
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
    if os.getppid() != {parent}:
        os._exit(1)
"""


class _First(str):
    """A process's name; what a new process unpickles first of all, by running `_FIRST`."""

    def __reduce__(self) -> tuple[Any, ...]:
        return builtins.eval, (f"(exec({_first()!r}), {str(self)!r})[1]",)


def _first() -> str:
    # The kernel takes the end of the thread that started a process for its parent's death: only the main thread lasts.
    watch = sys.platform == "linux" and threading.current_thread() is threading.main_thread()
    return _FIRST.format(watch=watch, parent=os.getpid())


class _Process(context.SpawnProcess):
    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.name = _First(self.name)


class _SpawnContext(context.SpawnContext):
    Process = _Process  # type: ignore[assignment]


def spawning() -> context.SpawnContext:
    """A multiprocessing context whose processes end with their parent, even if it is killed, and ignore Ctrl-C.

    It uses spawn. Processes started by a thread other than the main one must call `end_with_parent`.
    """
    return _SpawnContext()


def python_command(code: str) -> list[str]:
    """A command that runs code by this interpreter, as `python -c`, and imports nothing from the working folder.

    If the main thread starts it, its process ends with this one, even if that is killed (on Linux). It ignores Ctrl-C.
    """
    return [sys.executable, "-P", "-c", _first() + code]


def end_with_parent() -> None:
    """Call it in a child process, which then ends with its parent, whichever thread started it."""
    threading.Thread(target=_wait_for_parent, daemon=True).start()


def _wait_for_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def spare_garbage_collection() -> None:
    """Excludes all current objects from later garbage collections (`gc.freeze`).

    With PyTorch imported, a full collection takes hundreds of milliseconds, and may happen in the middle of a control step.
    Objects from an earlier call that are no longer needed are collected now.
    """
    gc.unfreeze()
    gc.collect()
    gc.freeze()

"""Reads blocks of images for training in worker processes, into memory shared with the training process.

Needs no PyTorch: a worker starts quickly and stays small.
"""

import mmap
import os
import tempfile
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod

import numpy as np

from paradp.policy.data.dataset import ImageSource
from paradp.policy.processes import end_with_parent, spawning

_ALIGNMENT = 64


@dataclass(frozen=True)
class SlotLayout:
    """The layout of the shared memory: the same number of slots for each camera, one camera after another.

    Attributes:
        shapes: height, width and channels by camera.
        slots: number of blocks that fit.
        rows: number of images per camera in a slot.
    """

    shapes: dict[str, tuple[int, ...]]
    slots: int
    rows: int

    @property
    def bytes(self) -> int:
        """The size of all slots in bytes."""
        return sum(map(self._bytes, self.shapes.values()))

    def views(self, memory: mmap.mmap) -> dict[str, np.ndarray]:
        """Camera → uint8 `[slots, rows, height, width, channels]` in this memory."""
        found: dict[str, np.ndarray] = {}
        at = 0
        for key, shape in self.shapes.items():
            found[key] = np.ndarray((self.slots, self.rows, *shape), np.uint8, memory, at)
            at += self._bytes(shape)
        return found

    def _bytes(self, shape: tuple[int, ...]) -> int:
        size = self.slots * self.rows * prod(shape)
        return -(-size // _ALIGNMENT) * _ALIGNMENT


class BlockLoader:
    """Reads blocks of images into slots, ahead of their use.

    Args:
        source: reads the images; every worker gets a copy.
        layout: the layout of the shared memory, which the loader allocates.
        workers: number of reading processes; with 0 this process reads a block when it is needed.
    """

    def __init__(self, source: ImageSource, layout: SlotLayout, workers: int):
        self._source = source
        self._file, self._path = _shared_file(layout.bytes)
        self.slots = layout.views(mmap.mmap(self._file, layout.bytes))
        self._waiting: dict[int, Future[None] | tuple[int, int]] = {}
        self._pool: ProcessPoolExecutor | None = None
        if workers:
            self._pool = ProcessPoolExecutor(workers, spawning(), _begin, (source, layout, self._path))

    def request(self, slot: int, begin: int, end: int) -> None:
        """Begins to read the images of some steps into a slot, and discards its content.

        Raises:
            OSError: a worker died.
        """
        if isinstance(earlier := self._waiting.pop(slot, None), Future):
            earlier.exception()  # it must not write there later
        with _naming_deaths():
            self._waiting[slot] = (begin, end) if self._pool is None else self._pool.submit(_load, slot, begin, end)

    def wait(self, slot: int) -> None:
        """Waits until the block that was requested last for a slot is read.

        Raises:
            ValueError: an image is missing or damaged.
            OSError: a file cannot be read, or a worker died.
        """
        match self._waiting.pop(slot, None):
            case (int(begin), int(end)):
                _fill(self._source, self.slots, slot, begin, end)
            case Future() as future:
                with _naming_deaths():
                    future.result()

    def close(self) -> None:
        """Ends the workers at once. The memory is released when its last view is deleted."""
        if self._pool is not None:
            processes = list(self._pool._processes.values())  # `shutdown` forgets them
            self._pool.shutdown(wait=False, cancel_futures=True)
            for process in processes:
                process.kill()
                process.join()
            self._pool = None
        self._source.close()
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
            if not self._path.startswith("/proc/"):
                os.unlink(self._path)
        self.slots = {}


@contextmanager
def _naming_deaths() -> Iterator[None]:
    try:
        yield
    except BrokenProcessPool as error:
        raise OSError("a process that reads images died, possibly for lack of memory") from error


def _shared_file(size: int) -> tuple[int, str]:
    """Makes a file in memory: returns its descriptor and a path for other processes. Linux frees it with its last user."""
    if hasattr(os, "memfd_create"):
        file = os.memfd_create("paradp-images")
        path = f"/proc/{os.getpid()}/fd/{file}"
    else:
        file, path = tempfile.mkstemp()
    os.ftruncate(file, size)
    return file, path


_worker: tuple[ImageSource, dict[str, np.ndarray]] | None = None


def _begin(source: ImageSource, layout: SlotLayout, path: str) -> None:
    global _worker
    end_with_parent()
    file = os.open(path, os.O_RDWR)
    _worker = source, layout.views(mmap.mmap(file, layout.bytes))
    os.close(file)


def _load(slot: int, begin: int, end: int) -> None:
    assert _worker is not None
    _fill(*_worker, slot, begin, end)


def _fill(source: ImageSource, slots: Mapping[str, np.ndarray], slot: int, begin: int, end: int) -> None:
    source.fill(begin, end, {key: values[slot, : end - begin] for key, values in slots.items()})

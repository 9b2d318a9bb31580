"""Streams, events and graphs of a device: it works through queues while the host continues."""

import gc
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Protocol

import torch
from torch import Tensor

Work = Callable[[], object]
# One lock for the process: a capture fails if another thread captures, or waits for the whole device, at the same time.
_CAPTURES = Lock()


class Event(Protocol):
    """A position in a stream."""

    def synchronize(self) -> None:
        """Blocks the host until the device has reached this position."""
        ...


class Stream(Protocol):
    """A queue of work that a device does in order. Work in different streams is only ordered by `wait`."""

    def launch(self, work: Work) -> None:
        """Queues the work that calling `work` launches, and returns at once."""
        ...

    def record(self) -> Event:
        """The present end of the queue, as an event."""
        ...

    def wait(self, event: Event) -> None:
        """Delays all work queued from now on until the device has reached an event of another stream."""
        ...


class Device(Protocol):
    """The operations of a device that captured rounds use."""

    @property
    def own(self) -> Stream:
        """The stream of the rounds."""
        ...

    def callers(self) -> Stream:
        """The stream on which the caller computes its inputs and reads the result."""
        ...

    def capture(self, work: Callable[[], None]) -> Callable[[], None]:
        """Captures work, so that launching it costs the host little time."""
        ...

    def host_copies(self, source: Tensor, count: int) -> list[Tensor]:
        """Tensors like `source` on the host, to which a stream can copy without blocking the host."""
        ...


class CudaStream:
    """A CUDA stream of PyTorch."""

    def __init__(self, stream: torch.cuda.Stream):
        self._stream = stream

    def launch(self, work: Work) -> None:
        with torch.cuda.stream(self._stream):
            work()

    def record(self) -> torch.cuda.Event:
        return self._stream.record_event()

    def wait(self, event: Event) -> None:
        assert isinstance(event, torch.cuda.Event)
        self._stream.wait_event(event)


class CudaDevice:
    """A GPU."""

    def __init__(self, device: torch.device):
        self._device = device
        self.own = CudaStream(torch.cuda.Stream(device))

    def callers(self) -> CudaStream:
        return CudaStream(torch.cuda.current_stream(self._device))

    def capture(self, work: Callable[[], None]) -> Callable[[], None]:
        return capture(work, self._device)

    def host_copies(self, source: Tensor, count: int) -> list[Tensor]:
        return [torch.empty(source.shape, dtype=source.dtype, pin_memory=True) for _ in range(count)]


class HostStream:
    """A stream that does work at once, in the calling thread. It is also its own event, which is always reached."""

    def launch(self, work: Work) -> None:
        work()

    def record(self) -> "HostStream":
        return self

    def wait(self, event: Event) -> None:
        pass

    def synchronize(self) -> None:
        pass


class HostDevice:
    """A CPU as a device without queues: work is done at once."""

    def __init__(self) -> None:
        self.own = HostStream()

    def callers(self) -> HostStream:
        return self.own

    def capture(self, work: Callable[[], None]) -> Callable[[], None]:
        return work

    def host_copies(self, source: Tensor, count: int) -> list[Tensor]:
        return [torch.empty_like(source) for _ in range(count)]


def capture(launch: Callable[[], None], device: torch.device) -> Callable[[], None]:
    """Captures the work of a function in a CUDA graph; on a CPU returns the function itself.

    One thread captures at a time; others may launch work, allocate, and wait for streams and events meanwhile.

    Returns:
        A function that launches the graph.
    """
    if device.type != "cuda":
        return launch
    with _CAPTURES, torch.cuda.device(device):
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(3):  # libraries choose their algorithms and allocate their workspaces
                launch()
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with warnings.catch_warnings(), _no_collection():
            # Some solvers have nothing to prepare.
            warnings.filterwarnings("ignore", "The CUDA Graph is empty")
            # An explicit stream, because PyTorch's default one belongs to the first device that captured anything.
            # thread_local: other threads may allocate meanwhile.
            with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
                launch()
    return graph.replay


def wait_until_idle(device: torch.device) -> None:
    """Waits until all streams of a device are idle and no capture is under way; returns at once for a CPU."""
    if device.type == "cuda":
        with _CAPTURES:
            torch.cuda.synchronize(device)


@contextmanager
def _no_collection() -> Iterator[None]:
    """Pauses garbage collection: freeing unused captured rounds waits for an event, which fails during a capture."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()

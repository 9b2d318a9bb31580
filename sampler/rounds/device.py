"""A device works through queues while the host goes on."""

import gc
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Protocol

import torch
from torch import Tensor

Work = Callable[[], object]
# Of the process: a capture fails when another thread captures, or waits for the whole device, at the same time.
_CAPTURES = Lock()


class Event(Protocol):
    """A place in a stream."""

    def synchronize(self) -> None:
        """The host waits until the device has come that far."""
        ...


class Stream(Protocol):
    """Work that a device does one piece after another; between streams only `wait` orders anything."""

    def launch(self, work: Work) -> None:
        """Queues what `work` launches, and returns at once."""
        ...

    def record(self) -> Event:
        """Marks the end of what is queued so far."""
        ...

    def wait(self, event: Event) -> None:
        """What is queued from here on is not begun before the device has passed an event of another stream."""
        ...


class Device(Protocol):
    """What captured rounds need of a device."""

    @property
    def own(self) -> Stream:
        """A stream for the rounds alone."""
        ...

    def callers(self) -> Stream:
        """The stream that the caller's tensors are made and read on."""
        ...

    def capture(self, work: Callable[[], None]) -> Callable[[], None]:
        """The same work, whose launch costs the host little."""
        ...

    def host_copies(self, source: Tensor, count: int) -> list[Tensor]:
        """Tensors like `source` on the host, which a stream can copy to while the host goes on."""
        ...


class CudaStream:
    """A `Stream` of PyTorch's."""

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
    """Work is done when it is launched, by the thread that launches it; so it is an event of its own, and always passed."""

    def launch(self, work: Work) -> None:
        work()

    def record(self) -> "HostStream":
        return self

    def wait(self, event: Event) -> None:
        pass

    def synchronize(self) -> None:
        pass


class HostDevice:
    """A CPU, which does everything at once."""

    def __init__(self) -> None:
        self.own = HostStream()

    def callers(self) -> HostStream:
        return self.own

    def capture(self, work: Callable[[], None]) -> Callable[[], None]:
        return work

    def host_copies(self, source: Tensor, count: int) -> list[Tensor]:
        return [torch.empty_like(source) for _ in range(count)]


def capture(launch: Callable[[], None], device: torch.device) -> Callable[[], None]:
    """A function's work on a GPU as a CUDA graph; the function itself on a CPU.

    One thread captures at a time; others may launch work, allocate, and wait for streams and events meanwhile.
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
            # PyTorch's own stream is on the first device that captured anything. Other threads may allocate meanwhile.
            with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
                launch()
    return graph.replay


def wait_until_idle(device: torch.device) -> None:
    """Waits until a device has nothing to do, on whatever stream, and for captures under way; returns at once for a CPU."""
    if device.type == "cuda":
        with _CAPTURES:
            torch.cuda.synchronize(device)


@contextmanager
def _no_collection() -> Iterator[None]:
    """Keeps Python from freeing captured rounds that are no longer used: they wait for an event, which a capture forbids."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()

"""Data parallelism: the rows of each call are split over several devices, each with a copy of the network."""

from collections.abc import Callable, Sequence
from threading import Lock

import torch
from torch import Tensor

from paradp.policy.choices import Precision
from paradp.policy.engines.engine import Engine
from paradp.sampler import Graphs
from paradp.sampler.rounds.device import CudaDevice, Device, Event, HostDevice

Queue = Callable[[torch.device], Device]


def queue_of(device: torch.device) -> Device:
    """The queue on which work for a device is launched."""
    return CudaDevice(device) if device.type == "cuda" else HostDevice()


class SpreadEngine:
    """Splits the rows of each call over several devices, and waits for all results.

        caller's stream, 1st device    ready ·                       all arrived · round goes on
        own stream, 1st device               rows · call · answer ──┐
        own stream, 2nd device               rows · call · answer ──┤
        host                                 launches all, waits for none

    Python runs the rounds on the first device: no CUDA graph contains work of several devices. Instead, the call on each
    device is captured, if its engine allows that. A U-Net has about sixty kernels, which the host would otherwise launch one
    by one for each device in turn. Such engines compute whole rounds, which have only a few batch sizes; each batch size is
    captured separately, without padding.

    Args:
        engines: the same network on each device, in the devices' order.
        devices: the devices; the caller's tensors are on the first.
        queue: creates the queue of a device.

    Attributes:
        devices: the devices.
    """

    def __init__(self, engines: Sequence[Engine], devices: Sequence[torch.device], queue: Queue = queue_of):
        first = engines[0]
        self.name: str = first.name
        self.precision: Precision = first.precision
        self.devices = tuple(devices)
        self.encode = first.encode
        captured = first.graphs is not None
        self.graphs = Graphs(_captures_nothing) if captured else None
        self._shares = [_Share(e, d, queue(d), captured) for e, d in zip(engines, devices, strict=True)]
        # Threads share the streams and captured calls. The lock makes each launch atomic; the streams order the rest.
        self._lock = Lock()

    def prepare(self, rows: Sequence[int]) -> None:
        """As each device's engine, for its share of these rows."""
        if self.graphs is not None:
            self.graphs.clear()
        divided = [shares(n, len(self._shares)) for n in rows]
        with self._lock:
            for i, share in enumerate(self._shares):
                if numbers := sorted({sizes[i] for sizes in divided if len(sizes) > i}):
                    share.prepare(numbers)

    def __call__(self, x: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        sizes = shares(len(x), len(self._shares))
        found = x.new_empty(x.shape)
        parts = zip(*(tensor.split(sizes) for tensor in (x, t, condition, found)), strict=True)
        with self._lock:
            callers = self._shares[0].device.callers()
            ready = callers.record()
            ends = [share.start(ready, *part) for share, part in zip(self._shares, parts, strict=False)]
            for end in ends:
                callers.wait(end)
        return found


def shares(rows: int, devices: int) -> list[int]:
    """Splits rows evenly over the devices; with fewer rows than devices, some get none."""
    used = max(1, min(rows, devices))
    return [rows // used + (i < rows % used) for i in range(used)]


def devices_of(engine: Engine, device: torch.device) -> tuple[torch.device, ...]:
    """All devices of an engine: several if it splits rows, otherwise that of its network."""
    return engine.devices if isinstance(engine, SpreadEngine) else (device,)


class _Share:
    """One device's part of every call."""

    def __init__(self, engine: Engine, place: torch.device, device: Device, captured: bool):
        self.device = device
        self._engine = engine
        self._place = place
        self._captured: dict[int, _CapturedCall] | None = {} if captured else None

    def prepare(self, rows: Sequence[int]) -> None:
        if self._captured is not None:
            self.device.own.record().synchronize()  # a call in progress may still use the memory that is released
            self._captured.clear()
        self._engine.prepare(rows)

    def start(self, ready: Event, x: Tensor, t: Tensor, condition: Tensor, found: Tensor) -> Event:
        """Launches the call for some rows after `ready`; the returned event is reached once `found` is filled."""
        own = self.device.own
        own.wait(ready)
        own.launch(lambda: found.copy_(self._compute(x, t, condition), non_blocking=True))
        return own.record()

    def _compute(self, *inputs: Tensor) -> Tensor:
        if self._captured is None:
            return self._engine(*(tensor.to(self._place, non_blocking=True) for tensor in inputs))
        rows = len(inputs[0])
        if rows not in self._captured:
            self._captured[rows] = _CapturedCall(self._engine, self._place, self.device, inputs)
        return self._captured[rows](*inputs)


class _CapturedCall:
    """A captured call of one device for one batch size, with its own inputs.

    Args:
        engine, place, device: of the share.
        inputs: the first ones, for their shapes.
    """

    def __init__(self, engine: Engine, place: torch.device, device: Device, inputs: tuple[Tensor, ...]):
        self._inputs = [torch.zeros(tensor.shape, dtype=tensor.dtype, device=place) for tensor in inputs]
        self._engine = engine
        self._found: Tensor | None = None
        self._replay = device.capture(self._call)

    def __call__(self, *inputs: Tensor) -> Tensor:
        """The prediction, valid until the next call."""
        for own, given in zip(self._inputs, inputs, strict=True):
            own.copy_(given, non_blocking=True)
        self._replay()
        assert self._found is not None
        return self._found

    def _call(self) -> None:
        x, t, condition = self._inputs
        self._found = self._engine(x, t, condition)


def _captures_nothing(device: torch.device) -> None:
    """For `Graphs`: rounds keep their buffers, but Python runs them without capturing."""

"""A simulated device that executes work late, in any order that its streams allow."""

from random import Random

import torch


class LateStream:
    """Holds work until its device gets to it."""

    def __init__(self, device):
        self.device = device
        self.work: list = []
        self.begun = 0  # how many pieces are done

    def launch(self, work):
        self.work.append(work)
        self.device.go_on()

    def record(self):
        self.work.append(None)
        self.device.go_on()
        return LateEvent(self, len(self.work))

    def wait(self, event):
        self.work.append(event)
        self.device.go_on()

    @property
    def blocked(self) -> bool:
        if self.begun == len(self.work):
            return True
        piece = self.work[self.begun]
        return isinstance(piece, LateEvent) and not piece.passed

    def step(self):
        piece = self.work[self.begun]
        self.begun += 1
        if callable(piece):
            piece()


class LateEvent:
    def __init__(self, stream, place):
        self.stream, self.place = stream, place

    @property
    def passed(self) -> bool:
        return self.stream.begun >= self.place

    def synchronize(self):
        """Makes the device do what this event waits for, and no more than it must."""
        while not self.passed:
            piece = self.stream.work[self.stream.begun]
            if isinstance(piece, LateEvent):
                piece.synchronize()
            self.stream.step()


class LateDevice:
    """Executes only what is required, or, with an order, a random amount of any stream between calls of the host."""

    def __init__(self, order: Random | None = None):
        self.order = order
        self.own = LateStream(self)
        self.streams = [LateStream(self), LateStream(self)]
        self.current = 0
        self._working = False

    def callers(self):
        return self.streams[self.current]

    def capture(self, work):
        work()  # as capturing does
        return work

    def host_copies(self, source, count):
        return [torch.full_like(source, -7, device="cpu") for _ in range(count)]

    def go_on(self):
        if self.order is None or self._working:
            return
        self._working = True
        for _ in range(self.order.choice([0, 0, 1, 3, 10])):
            able = [stream for stream in (self.own, *self.streams) if not stream.blocked]
            if able:
                self.order.choice(able).step()
        self._working = False

    def read(self, stream: int):
        """The host reads tensors of a caller's stream."""
        self.streams[stream].record().synchronize()

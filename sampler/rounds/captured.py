"""Solves whose rounds are launched without Python, and the host a round ahead of the device."""

import math
import weakref
from collections.abc import Callable, Hashable
from threading import Lock

import torch
from torch import Tensor

from paradp.sampler.noise import NoisePath
from paradp.sampler.rounds.base import Rounds, Watch
from paradp.sampler.rounds.device import CudaDevice, Device, Event, Stream
from paradp.sampler.solution import Solution, SolverStats

MakeRounds = Callable[[], Rounds]


class Captured:
    """Rounds on the same buffers for every solve, captured: what prepares them, a round, and what comes of them.

    Whether all environments have arrived is on the device. The host learns it a round late: it launches the next round, and
    waits for the last one meanwhile, so that the device never waits for the host. The round too many changes nothing, and
    runs on a stream of its own: the sample does not wait for it, only the next solve does. There is none where the round
    before the last left a single step.

        rounds' stream    load · begin · round 1 · round 2 · … · round r · round r+1 (changes nothing)
        host                     launches 2 · waits for 1, launches 3 · … · waits for r: arrived
        caller's stream                                                    result ·

    Args:
        rounds: whole, and loaded once.
        device: where they are.
    """

    def __init__(self, rounds: Rounds, device: Device):
        self._rounds = rounds
        self._device = device
        self._begin = device.capture(self._prepare)
        self._advance = device.capture(rounds.advance)
        self._found: tuple[Tensor, ...] = ()  # what the captured work leaves behind, in the same memory every time
        self._conclude = device.capture(self._find)
        # Two, as the device may write the next one while the host reads the last.
        self._decided = device.host_copies(rounds.decided, 2)
        self._read = device.callers().record()
        weakref.finalize(self, _wait_for, device.own)  # a round may still be under way in memory that is given back

    def solve(self, condition: Tensor, noise: NoisePath, guess: Tensor | None, deadline: float) -> Solution:
        """As `Solver.solve`."""
        own, callers = self._device.own, self._device.callers()
        own.wait(callers.record())
        own.wait(self._read)  # the last solve may have been read on another stream
        own.launch(lambda: self._rounds.take(condition, noise, guess))
        own.launch(self._begin)
        end, done = self._ahead() if deadline == math.inf else self._until(deadline)
        callers.wait(end)
        copies = tuple(torch.empty_like(found) for found in self._found)
        callers.launch(lambda: self._copy_result(copies, done))
        self._read = callers.record()
        return _solution(copies)

    def _ahead(self) -> tuple[Event, bool]:
        """Makes rounds, each launched before the host knows of the last; returns after which all are done, and whether."""
        rounds, events = self._rounds, []
        for made in range(rounds.most):
            events.append(self._launch(made))
            if made >= rounds.least and (left := self._left(made - 1, events[-2])) <= 1:
                return events[-1 if left else -2], True  # a round decides a step: the one under way is the last
        done = rounds.most >= rounds.enough or self._arrived(rounds.most - 1, events[-1])
        return events[-1], done

    def _until(self, deadline: float) -> tuple[Event, bool]:
        """Makes rounds one by one, as many as fit."""
        watch, made = Watch(deadline), 0
        event = self._device.own.record()
        while made < self._rounds.most and not watch.over(wait=event.synchronize):
            event = self._launch(made)
            made += 1
            if made >= self._rounds.least and self._arrived(made - 1, event):
                return event, True
        return event, made >= self._rounds.enough or self._arrived(made - 1, event)

    def _launch(self, made: int) -> Event:
        """Launches a round after so many others."""
        target = self._decided[made % 2]

        def work() -> None:
            self._advance()
            target.copy_(self._rounds.decided, non_blocking=True)

        self._device.own.launch(work)
        return self._device.own.record()

    def _arrived(self, made: int, event: Event) -> bool:
        """Whether all environments had their sample after the round that was launched after so many others."""
        return self._left(made, event) <= 0

    def _left(self, made: int, event: Event) -> int:
        """How many steps the slowest environment lacked after that round."""
        event.synchronize()
        return self._rounds.table.steps - int(self._decided[made % 2].min())

    def _prepare(self) -> None:
        self._rounds.clear()
        self._rounds.begin()

    def _find(self) -> None:
        self._found = _tensors(self._rounds.result(done=True))

    def _copy_result(self, copies: tuple[Tensor, ...], done: bool) -> None:
        """What came of a solve, in the caller's tensors."""
        if done:
            self._conclude()
        found = self._found if done else _tensors(self._rounds.result(done=False))
        for copy, part in zip(copies, found, strict=True):
            copy.copy_(part)


def _wait_for(stream: Stream) -> None:
    stream.record().synchronize()


def _tensors(solution: Solution) -> tuple[Tensor, Tensor, Tensor]:
    """A solution in few tensors, which are copied at once: sample, residual, and all counts `[4, B]`."""
    stats = solution.stats
    return solution.sample, stats.residual, torch.stack([stats.rounds, stats.evaluations, stats.status, stats.broken])


def _solution(tensors: tuple[Tensor, ...]) -> Solution:
    sample, residual, counts = tensors
    rounds, evaluations, status, broken = counts.unbind()
    return Solution(sample, SolverStats(rounds, evaluations, residual, status, broken))


class Graphs:
    """The captured rounds of a denoiser, which holds them as its attribute `graphs`.

    A denoiser with that attribute promises that its calls can be captured: they launch the same work whatever the values
    are. On a CPU, where nothing can be captured, the same rounds are made by Python.

    Args:
        device: what the rounds of samples on a device are queued on; `None` where nothing is queued or captured.
    """

    def __init__(self, device: Callable[[torch.device], Device | None] | None = None) -> None:
        self.lock = Lock()  # solves of several threads use the same buffers, one after another
        self._device = device or _queued
        self._devices: dict[torch.device, Device | None] = {}
        self._kept: dict[Hashable, tuple[object, Rounds, Captured | None]] = {}

    def another(self) -> "Graphs":
        """Empty ones, for another denoiser on the same devices."""
        return Graphs(self._device)

    def clear(self) -> None:
        """Forgets all of them, and gives their memory back; waits for a solve of another thread."""
        with self.lock:
            self._kept.clear()

    def load(
        self, solver: object, make: MakeRounds, condition: Tensor, noise: NoisePath, guess: Tensor | None
    ) -> tuple[Rounds, Captured | None]:
        """A solver's rounds, made and captured the first time that these shapes are met; loaded where none are captured."""
        key = (id(solver), condition.shape, noise.initial.shape, noise.initial.dtype, noise.initial.device)
        if key not in self._kept:
            rounds = make()
            rounds.load(condition, noise, guess)
            device = self.queue(noise.initial.device)
            # The solver is kept so that no other can have its id.
            self._kept[key] = solver, rounds, None if device is None else Captured(rounds, device)
        _, rounds, captured = self._kept[key]
        if captured is None:
            rounds.clear()
            rounds.load(condition, noise, guess)
        return rounds, captured

    def queue(self, device: torch.device) -> Device | None:
        """What rounds of samples there are queued on, and captured by; `None` where Python makes them."""
        if device not in self._devices:
            self._devices[device] = self._device(device)
        return self._devices[device]


def _queued(device: torch.device) -> Device | None:
    return CudaDevice(device) if device.type == "cuda" else None

"""Solves with rounds captured in CUDA graphs; the host launches one round ahead of the device."""

import math
import weakref
from collections.abc import Callable, Hashable
from functools import partial
from threading import Lock

import torch
from torch import Tensor

from paradp.sampler.noise import NoisePath
from paradp.sampler.rounds.base import Rounds, Watch
from paradp.sampler.rounds.device import CudaDevice, Device, Event, Stream
from paradp.sampler.solution import Solution, SolverStats

MakeRounds = Callable[[], Rounds]


class Captured:
    """Captured preparation, round and result of a solve, on the same buffers for every solve.

    The device computes whether all environments are finished. The host reads this one round late: it launches the next round
    before it waits for the last one, so that the device never waits for the host. The superfluous last round changes
    nothing. It runs on a separate stream, so the sample does not wait for it, only the next solve does. It is omitted if the
    round before it left only a single step.

        rounds' stream    load · begin · round 1 · round 2 · … · round r · round r+1 (changes nothing)
        host                     launches 2 · waits for 1, launches 3 · … · waits for r: arrived
        caller's stream                                                    result ·

    Args:
        rounds: rounds with `whole`, loaded once.
        device: the device of their buffers.
    """

    def __init__(self, rounds: Rounds, device: Device):
        self._rounds = rounds
        self._device = device
        self._begin = device.capture(self._prepare)
        # Two, as the device may write the next one while the host reads the last.
        self._decided = device.host_copies(rounds.decided, 2)
        self._rounds_and_copies = [device.capture(partial(self._advance, decided)) for decided in self._decided]
        self._found: tuple[Tensor, ...] = ()  # the result of the captured work, in the same memory every time
        self._conclude = device.capture(self._find)
        self._read = device.callers().record()
        weakref.finalize(self, _wait_for, device.own)  # a round may still use memory that is about to be released

    def solve(self, condition: Tensor, noise: NoisePath, guess: Tensor | None, deadline: float) -> Solution:
        """See `Solver.solve`."""
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
        """Launches rounds one ahead of the host; returns the event of the last one needed, and whether all are finished."""
        rounds, events = self._rounds, []
        for index in range(rounds.most):
            events.append(self._launch(index))
            if index >= rounds.least and (left := self._left(index - 1, events[-2])) <= 1:
                return events[-1 if left else -2], True  # a round decides a step: the one under way is the last
        done = rounds.most >= rounds.enough or self._arrived(rounds.most - 1, events[-1])
        return events[-1], done

    def _until(self, deadline: float) -> tuple[Event, bool]:
        """Runs rounds one by one, until the deadline."""
        watch, launched = Watch(deadline), 0
        event = self._device.own.record()
        while launched < self._rounds.most and not watch.over(wait=event.synchronize):
            event = self._launch(launched)
            launched += 1
            if launched >= self._rounds.least and self._arrived(launched - 1, event):
                return event, True
        return event, launched >= self._rounds.enough or self._arrived(launched - 1, event)

    def _launch(self, index: int) -> Event:
        """Launches the round with this index."""
        self._device.own.launch(self._rounds_and_copies[index % 2])
        return self._device.own.record()

    def _arrived(self, index: int, event: Event) -> bool:
        """Whether all environments were finished after the round with this index."""
        return self._left(index, event) <= 0

    def _left(self, index: int, event: Event) -> int:
        """The number of undecided steps of the slowest environment after that round."""
        event.synchronize()
        return self._rounds.table.steps - int(self._decided[index % 2].min())

    def _advance(self, decided: Tensor) -> None:
        """A round, and how far it came."""
        self._rounds.advance()
        decided.copy_(self._rounds.decided, non_blocking=True)

    def _prepare(self) -> None:
        self._rounds.clear()
        self._rounds.begin()

    def _find(self) -> None:
        self._found = _tensors(self._rounds.result(done=True))

    def _copy_result(self, copies: tuple[Tensor, ...], done: bool) -> None:
        """Copies the solution to the caller's tensors."""
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
    """The captured rounds of a denoiser, stored in its attribute `graphs`.

    A denoiser with this attribute must be capturable: its calls launch the same work for any values. On a CPU, which cannot
    capture, Python runs the same rounds.

    Args:
        device: torch device → streams and graphs for its rounds; `None` for no queue and no capture.
    """

    def __init__(self, device: Callable[[torch.device], Device | None] | None = None) -> None:
        self.lock = Lock()  # solves of several threads use the same buffers, one after another
        self._device = device or _queued
        self._devices: dict[torch.device, Device | None] = {}
        self._kept: dict[Hashable, tuple[object, Rounds, Captured | None]] = {}

    def another(self) -> "Graphs":
        """An empty copy, for another denoiser on the same devices."""
        return Graphs(self._device)

    def clear(self) -> None:
        """Releases all graphs and their memory; waits for solves of other threads."""
        with self.lock:
            self._kept.clear()

    def load(
        self, solver: object, make: MakeRounds, condition: Tensor, noise: NoisePath, guess: Tensor | None
    ) -> tuple[Rounds, Captured | None]:
        """The rounds of a solver, created and captured at the first use of these shapes; loaded if nothing is captured."""
        like = ((tensor.shape, tensor.dtype, tensor.device) for tensor in (condition, noise.initial))
        key = (id(solver), *like)
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
        """The streams and graphs for rounds on a torch device; `None` if Python runs the rounds one by one."""
        if device not in self._devices:
            self._devices[device] = self._device(device)
        return self._devices[device]


def _queued(device: torch.device) -> Device | None:
    return CudaDevice(device) if device.type == "cuda" else None

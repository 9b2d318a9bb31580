"""A solve as a sequence of rounds, which a device may repeat without Python."""

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable
from threading import Lock

import torch
from torch import Tensor

from paradp.sampler.noise import NoisePath
from paradp.sampler.rounds.memory import copy
from paradp.sampler.solution import Denoiser, Solution
from paradp.sampler.table import StepTable


class Rounds(ABC):
    """A solve on buffers of its own, B environments at once.

    A round has no shape and no branch that depends on data as long as `whole` is set, so that it can be captured in a CUDA
    graph: the inputs of every solve are copied into the same buffers.

    Args:
        table: the steps.
        denoiser, condition, noise: as in `Solver.solve`; of the tensors only shapes, types and device count here.
        whole: whether rows that are no steps are evaluated too: where they cost nothing, and shapes must not change.

    Attributes:
        least, most: how many rounds there are at least and at most.
        deadline: of this solve, see `Solver.solve`.
    """

    least: int = 1
    most: int = 1
    deadline: float = math.inf

    def __init__(self, table: StepTable, denoiser: Denoiser, condition: Tensor, noise: NoisePath, whole: bool):
        self.table = table.to(noise.initial.device, noise.initial.dtype)
        self.denoiser = denoiser
        self.whole = whole
        self.shape = noise.initial.shape
        self.initial = torch.empty_like(noise.initial)
        self.condition = torch.empty_like(condition)

    def load(self, condition: Tensor, noise: NoisePath, guess: Tensor | None) -> None:
        """Begins a solve with these inputs, on buffers that are new or cleared."""
        copy(self.condition, condition)
        copy(self.initial, noise.initial)

    @abstractmethod
    def clear(self) -> None:
        """Forgets the last solve."""

    @abstractmethod
    def advance(self) -> None:
        """Makes a round."""

    @abstractmethod
    def arrived(self) -> bool:
        """Whether all environments have their sample; waits for the device."""

    @abstractmethod
    def solution(self) -> Solution:
        """What came of it, in tensors of its own."""


class Graphs:
    """The captured rounds of a denoiser, which holds them as its attribute `graphs`.

    A denoiser with that attribute promises that its calls can be captured: they launch the same work whatever the values
    are. On a CPU, where nothing can be captured, the same rounds are made by Python.
    """

    def __init__(self) -> None:
        self.lock = Lock()  # solves of several threads use the same buffers, one after another
        self._kept: dict[Hashable, tuple[object, Rounds, Callable[[], None]]] = {}

    def clear(self) -> None:
        """Forgets all of them, and gives their memory back."""
        self._kept.clear()

    def load(
        self, solver: object, make: Callable[[], Rounds], condition: Tensor, noise: NoisePath, guess: Tensor | None
    ) -> tuple[Rounds, Callable[[], None]]:
        """A solver's rounds, loaded, and what makes the next one of them; captured the first time that shapes are met."""
        key = (id(solver), condition.shape, noise.initial.shape, noise.initial.dtype, noise.initial.device)
        if key not in self._kept:
            rounds = make()
            rounds.load(condition, noise, guess)
            # The solver is kept so that no other can have its id.
            self._kept[key] = solver, rounds, capture(rounds.advance, noise.initial.device)
        _, rounds, advance = self._kept[key]
        rounds.clear()  # capturing, too, has made rounds
        rounds.load(condition, noise, guess)
        return rounds, advance


def capture(launch: Callable[[], None], device: torch.device) -> Callable[[], None]:
    """A function's work on a GPU as a CUDA graph; the function itself on a CPU."""
    if device.type != "cuda":
        return launch
    with torch.cuda.device(device):
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(3):  # libraries choose their algorithms and allocate their workspaces
                launch()
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            launch()
    return graph.replay


def run(
    solver: object,
    make: Callable[[bool], Rounds],
    denoiser: Denoiser,
    condition: Tensor,
    noise: NoisePath,
    guess: Tensor | None = None,
    deadline: float = math.inf,
) -> Solution:
    """Makes rounds until all environments have their sample, or no other fits before the deadline.

    Args:
        solver: whose rounds these are.
        make: makes them for these inputs, whole or not.
        denoiser, condition, noise, guess, deadline: as in `Solver.solve`.
    """
    graphs: Graphs | None = getattr(denoiser, "graphs", None)
    if graphs is None:
        rounds = make(False)
        rounds.load(condition, noise, guess)
        return _finish(rounds, rounds.advance, deadline)
    with graphs.lock:
        return _finish(*graphs.load(solver, lambda: make(True), condition, noise, guess), deadline)


def _finish(rounds: Rounds, advance: Callable[[], None], deadline: float) -> Solution:
    rounds.deadline = deadline
    watch = Watch(deadline)
    for done in range(rounds.most):
        if done >= rounds.least and rounds.arrived():
            break
        if watch.over(wait=rounds.arrived):
            break
        advance()
    return rounds.solution()


class Watch:
    """Says when there is no time for another piece of work as long as the longest so far.

    Args:
        deadline: a time of `time.perf_counter()`; with none, no time is taken.
    """

    def __init__(self, deadline: float):
        self._deadline = deadline
        self._longest = 0.0
        self._began: float | None = None

    def over(self, wait: Callable[[], object] | None = None) -> bool:
        """To be asked before each piece; `wait` waits until a device has done the last one. Never before the first."""
        if self._deadline == math.inf:
            return False
        if wait is not None:
            wait()
        now, first = time.perf_counter(), self._began is None
        self._longest = max(self._longest, now - (self._began or now))
        self._began = now
        return not first and now + self._longest > self._deadline

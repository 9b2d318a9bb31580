"""Base classes of a solve in rounds: rounds on buffers, and a clock for deadlines."""

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor

from paradp.sampler.noise import NoisePath
from paradp.sampler.rounds.memory import copy
from paradp.sampler.solution import Denoiser, Solution
from paradp.sampler.table import StepTable


class Rounds(ABC):
    """A solve of B environments on its own buffers.

    With `whole`, no shape and no branch of a round depends on data, so that a round can be captured in a CUDA graph: the
    inputs of every solve are copied into the same buffers. The same is true of `begin`, and of `result` for a finished
    solve. A round decides at least one step of each unfinished environment; once all are finished, it changes nothing.

    Args:
        table: the steps.
        denoiser, condition, noise: as in `Solver.solve`; only shapes, types and devices of the tensors matter here.
        whole: also evaluate padding rows, so that shapes stay constant (for CUDA graphs).

    Attributes:
        least, most: least and largest number of rounds.
        enough: number of rounds that always suffices.
        deadline: deadline of this solve, see `Solver.solve`.
    """

    least: int = 1
    most: int = 1
    enough: int = 1
    deadline: float = math.inf

    def __init__(self, table: StepTable, denoiser: Denoiser, condition: Tensor, noise: NoisePath, whole: bool):
        self.table = table.to(noise.initial.device, noise.initial.dtype)
        self.denoiser = denoiser
        self.whole = whole
        self.shape = noise.initial.shape
        self.initial = torch.empty_like(noise.initial)
        self.condition = torch.empty_like(condition)

    @property
    @abstractmethod
    def decided(self) -> Tensor:
        """`[B]` int64, the number of decided steps of each environment; T once it is finished."""

    def load(self, condition: Tensor, noise: NoisePath, guess: Tensor | None) -> None:
        """Begins a solve with these inputs; the buffers must be new or cleared."""
        self.take(condition, noise, guess)
        self.begin()

    def take(self, condition: Tensor, noise: NoisePath, guess: Tensor | None) -> None:
        """Copies the inputs of a solve."""
        copy(self.condition, condition)
        copy(self.initial, noise.initial)

    def begin(self) -> None:  # noqa: B027
        """Prepares the first round from the copied inputs; does nothing by default."""

    @abstractmethod
    def clear(self) -> None:
        """Clears the buffers after a solve."""

    @abstractmethod
    def advance(self) -> None:
        """Computes a round."""

    def arrived(self) -> bool:
        """Whether all environments are finished; waits for the device."""
        return not bool((self.decided < self.table.steps).any())

    @abstractmethod
    def result(self, done: bool) -> Solution:
        """The solution, in new tensors.

        Args:
            done: whether all environments are finished.
        """


class Watch:
    """Decides whether there is time for another round, assuming it takes as long as the longest so far.

    Args:
        deadline: a time of `time.perf_counter()`; infinity for no limit.
    """

    def __init__(self, deadline: float):
        self._deadline = deadline
        self._longest = 0.0
        self._began: float | None = None

    def over(self, wait: Callable[[], object] | None = None) -> bool:
        """Whether time is up; call it before each round. `wait` waits for the device's last round."""
        if self._deadline == math.inf:
            return False
        if wait is not None:
            wait()
        now, first = time.perf_counter(), self._began is None
        self._longest = max(self._longest, now - (self._began or now))
        self._began = now
        return not first and now + self._longest > self._deadline

"""What a solve is made of: buffers, rounds that advance them, and a clock."""

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
    """A solve on buffers of its own, B environments at once.

    A round has no shape and no branch that depends on data as long as `whole` is set, so that it can be captured in a CUDA
    graph: the inputs of every solve are copied into the same buffers. The same holds for `begin`, and for `result` of a
    solve that is done. A round decides at least one step of every environment that has not arrived; after all have, it
    changes nothing.

    Args:
        table: the steps.
        denoiser, condition, noise: as in `Solver.solve`; of the tensors only shapes, types and device count here.
        whole: whether rows that are no steps are evaluated too: where they cost nothing, and shapes must not change.

    Attributes:
        least, most: how many rounds there are at least and at most.
        enough: after how many rounds all environments have arrived whatever the values are.
        deadline: of this solve, see `Solver.solve`.
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
        """`[B]` int64, how many steps of each environment are decided; T once it has arrived."""

    def load(self, condition: Tensor, noise: NoisePath, guess: Tensor | None) -> None:
        """Begins a solve with these inputs, on buffers that are new or cleared."""
        self.take(condition, noise, guess)
        self.begin()

    def take(self, condition: Tensor, noise: NoisePath, guess: Tensor | None) -> None:
        """Copies the inputs of a solve."""
        copy(self.condition, condition)
        copy(self.initial, noise.initial)

    def begin(self) -> None:  # noqa: B027
        """Prepares the first round from the copied inputs; most need nothing else."""

    @abstractmethod
    def clear(self) -> None:
        """Forgets the last solve."""

    @abstractmethod
    def advance(self) -> None:
        """Makes a round."""

    def arrived(self) -> bool:
        """Whether all environments have their sample; waits for the device."""
        return not bool((self.decided < self.table.steps).any())

    @abstractmethod
    def result(self, done: bool) -> Solution:
        """What came of it, in tensors of its own.

        Args:
            done: whether all environments have arrived.
        """


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

"""A solver whose rounds are computed by a backend."""

import math
from abc import ABC, abstractmethod
from functools import partial

import torch
from torch import Tensor

from paradp.sampler.noise import NoisePath
from paradp.sampler.rounds.backends import make_rounds
from paradp.sampler.rounds.run import run
from paradp.sampler.solution import Denoiser, Solution, check_inputs
from paradp.sampler.table import StepTable


class InRounds(ABC):
    """The settings of a `Solver`: `paradp.sampler.rounds` has the rounds that go with them, once for every backend."""

    table: StepTable

    @property
    @abstractmethod
    def window(self) -> int:
        """The most steps of one environment that a round evaluates."""

    @torch.no_grad()
    def solve(
        self,
        denoiser: Denoiser,
        condition: Tensor,
        noise: NoisePath,
        guess: Tensor | None = None,
        deadline: float = math.inf,
    ) -> Solution:
        """Samples `[B, …]` for conditions `[B, C]` on a noise path, as `Solver.solve` says.

        Raises:
            ValueError: noise, conditions or guess are for another number of environments or steps, or of another shape.
        """
        check_inputs(self.table, condition, noise, guess)
        make = partial(make_rounds, self, denoiser, condition, noise)
        return run(self, make, denoiser, condition, noise, guess, deadline)

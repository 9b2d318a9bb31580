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
    """Base class of the solvers' settings. `paradp.sampler.rounds` computes the rounds, with several backends."""

    table: StepTable

    @property
    @abstractmethod
    def window(self) -> int:
        """The largest number of steps of one environment that a round evaluates."""

    @torch.no_grad()
    def solve(
        self,
        denoiser: Denoiser,
        condition: Tensor,
        noise: NoisePath,
        guess: Tensor | None = None,
        deadline: float = math.inf,
    ) -> Solution:
        """Draws samples `[B, …]` for conditions `[B, C]` on a noise path, see `Solver.solve`.

        Raises:
            ValueError: noise, conditions or guess have the wrong number of environments or steps, or another shape.
        """
        check_inputs(self.table, condition, noise, guess)
        make = partial(make_rounds, self, denoiser, condition, noise)
        return run(self, make, denoiser, condition, noise, guess, deadline)

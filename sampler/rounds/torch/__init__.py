"""Rounds by PyTorch's operations, which any device computes and a GPU captures: the reference of the other backends."""

from typing import Any

from paradp.sampler.noise import NoisePath
from paradp.sampler.rounds.torch.picard import Iteration
from paradp.sampler.rounds.torch.sequential import Pass
from paradp.sampler.rounds.torch.speculative import Speculation
from paradp.sampler.solvers.picard import Picard
from paradp.sampler.solvers.sequential import Sequential
from paradp.sampler.solvers.speculative import Speculative

ROUNDS = {Sequential: Pass, Picard: Iteration, Speculative: Speculation}


def computes(solver: Any, noise: NoisePath, whole: bool) -> bool:
    """Always."""
    return True

"""Rounds as PyTorch operations, on any device, capturable on a GPU: the reference for the other backends."""

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
    """Supports everything."""
    return True

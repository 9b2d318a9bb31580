"""Rounds by compiled loops on a CPU.

A round of PyTorch's operations, each on a few hundred numbers, takes as long as the network on a good engine; as loops it
takes a tenth. Buffers and formulas are those of `paradp.sampler.rounds.torch`; tests hold both to each other.
"""

from typing import Any

from paradp.sampler.noise import NoisePath
from paradp.sampler.rounds.memory import shared
from paradp.sampler.rounds.numba.picard import NumbaIteration
from paradp.sampler.rounds.numba.sequential import NumbaPass
from paradp.sampler.rounds.numba.speculative import NumbaSpeculation
from paradp.sampler.solvers.picard import Picard
from paradp.sampler.solvers.sequential import Sequential
from paradp.sampler.solvers.speculative import Speculative

ROUNDS = {Sequential: NumbaPass, Picard: NumbaIteration, Speculative: NumbaSpeculation}


def computes(solver: Any, noise: NoisePath, whole: bool) -> bool:
    """Samples on the CPU, windows without gaps, and no Anderson steps."""
    return shared(noise.initial) and not whole and not getattr(solver, "anderson", 0)

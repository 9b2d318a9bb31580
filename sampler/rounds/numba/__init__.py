"""Rounds as compiled loops on a CPU.

The operations of a round are on a few hundred numbers each. In PyTorch they take as long as the network on a fast engine; as
compiled loops they take a tenth. Buffers and formulas are those of `paradp.sampler.rounds.torch`; tests compare the two.
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
    """Supports samples on the CPU, without `whole`, and without Anderson steps."""
    return shared(noise.initial) and not whole and not getattr(solver, "anderson", 0)

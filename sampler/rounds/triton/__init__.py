"""Rounds by kernels on a GPU, a program for each environment.

A round of PyTorch's operations is some fifty kernels of a few hundred numbers each: more than the network of a small policy.
Here it is two beside the network. Buffers and formulas are those of `paradp.sampler.rounds.torch`; tests hold both to each
other, on a CPU by Triton's interpreter.
"""

import logging
from functools import cache
from typing import Any

import torch
from triton.runtime import JITFunction

from paradp.sampler.noise import NoisePath
from paradp.sampler.rounds import launching
from paradp.sampler.rounds.triton import speculative_kernels
from paradp.sampler.rounds.triton.picard import TritonIteration
from paradp.sampler.rounds.triton.sequential import TritonPass
from paradp.sampler.rounds.triton.speculative import TritonSpeculation
from paradp.sampler.solvers.picard import Picard
from paradp.sampler.solvers.sequential import Sequential
from paradp.sampler.solvers.speculative import Speculative

ROUNDS = {Sequential: TritonPass, Picard: TritonIteration, Speculative: TritonSpeculation}

# A vector of more elements would not fit into the registers of a program.
MOST_ELEMENTS = 4096

_LOG = logging.getLogger(__name__)


def computes(solver: Any, noise: NoisePath, whole: bool) -> bool:
    """Samples on a GPU, or on a CPU where Triton's interpreter is on, and neither trained drafts nor Anderson steps."""
    sample = noise.initial[0]
    interprets = not isinstance(speculative_kernels.draft, JITFunction)
    fits = sample.dtype in (torch.float32, torch.float64) and sample.numel() <= MOST_ELEMENTS
    plain = getattr(solver, "model", None) is None and not getattr(solver, "anderson", 0)
    return fits and plain and (interprets or (sample.is_cuda and lacking() is None))


@cache
def lacking() -> str | None:
    """What it takes to launch the kernels and this machine does not have; says so once."""
    missing = launching.lacking()
    if missing is not None:
        _LOG.warning("the kernels of the samplers' rounds need %s: PyTorch computes the rounds instead, slower", missing)
    return missing

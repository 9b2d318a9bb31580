"""Rounds as Triton kernels on a GPU, with one program for each environment.

In PyTorch a round is about fifty kernels of a few hundred numbers each, which take longer than the network of a small
policy. Here it is two or three kernels besides the network. Buffers and formulas are those of `paradp.sampler.rounds.torch`;
tests compare the two, also on a CPU with Triton's interpreter.
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
    """Supports samples on a GPU (or a CPU with Triton's interpreter), without trained drafts and Anderson steps."""
    sample = noise.initial[0]
    interprets = not isinstance(speculative_kernels.draft, JITFunction)
    fits = sample.dtype in (torch.float32, torch.float64) and sample.numel() <= MOST_ELEMENTS
    plain = getattr(solver, "model", None) is None and not getattr(solver, "anderson", 0)
    return fits and plain and (interprets or (sample.is_cuda and lacking() is None))


@cache
def lacking() -> str | None:
    """The missing requirement of this machine, which is logged once; `None` if the kernels can be launched."""
    missing = launching.lacking()
    if missing is not None:
        _LOG.warning("the kernels of the samplers' rounds need %s: PyTorch computes the rounds instead, slower", missing)
    return missing

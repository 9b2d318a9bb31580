"""Rounds by kernels on a GPU, a program for each environment.

A round of PyTorch's operations is some fifty kernels of a few hundred numbers each: more than the network of a small policy.
Here it is two beside the network. Buffers and formulas are those of `paradp.sampler.rounds.torch`; tests hold both to each
other, on a CPU by Triton's interpreter.
"""

import logging
import os
import shutil
import sysconfig
from functools import cache
from pathlib import Path
from typing import Any

import torch
import triton
from triton.runtime import JITFunction

from paradp.sampler.noise import NoisePath
from paradp.sampler.rounds.triton import speculative_kernels
from paradp.sampler.rounds.triton.picard import FusedIteration
from paradp.sampler.rounds.triton.sequential import FusedPass
from paradp.sampler.rounds.triton.speculative import FusedSpeculation
from paradp.sampler.solvers.picard import Picard
from paradp.sampler.solvers.sequential import Sequential
from paradp.sampler.solvers.speculative import Speculative

ROUNDS = {Sequential: FusedPass, Picard: FusedIteration, Speculative: FusedSpeculation}

# A vector of more elements would not fit into the registers of a program.
MOST_ELEMENTS = 4096


# The first that compiles these kernels.
OLDEST = (3, 3)

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
    scheme = sysconfig.get_default_scheme().replace("posix_local", "posix_prefix")  # as Triton looks for them
    if tuple(int(part) for part in triton.__version__.split(".")[:2]) < OLDEST:
        missing = "Triton " + ".".join(map(str, OLDEST)) + " or later"
    elif not (os.environ.get("CC") or shutil.which("gcc") or shutil.which("clang")):
        missing = "a C compiler"
    elif not (Path(sysconfig.get_paths(scheme=scheme)["include"]) / "Python.h").is_file():
        missing = "Python's C headers"
    else:
        return None
    _LOG.warning("the kernels of the samplers' rounds need %s: PyTorch computes the rounds instead, slower", missing)
    return missing

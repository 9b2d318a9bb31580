"""All steps of a sequential solve on a GPU: each is one kernel and one call of the network."""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from paradp.sampler.noise import NoisePath
from paradp.sampler.rounds.base import Watch
from paradp.sampler.rounds.torch.sequential import Pass
from paradp.sampler.rounds.triton.rows import options_of
from paradp.sampler.rounds.triton.steps import COLUMNS, A, predict_clean, push
from paradp.sampler.solution import Denoiser, predict
from paradp.sampler.solvers.sequential import Sequential


@triton.jit(do_not_specialize=["k"])
def take_step(
    table, bounds, x, predictions, noise, clean, k, steps,
    SIZE: tl.constexpr, BLOCK: tl.constexpr, KEEPS_UNCLIPPED: tl.constexpr, LOOKS_BACK: tl.constexpr,
):  # fmt: skip
    """One step of every environment, in place."""
    b = tl.program_id(0).to(tl.int64)
    d = tl.arange(0, BLOCK)
    real = d < SIZE
    step = table + k * COLUMNS
    at = (b * steps + k) * SIZE + d
    state = tl.load(x + b * SIZE + d, real, 0.0)
    found = predict_clean(step, state, tl.load(predictions + b * SIZE + d, real, 0.0))
    before = found
    if LOOKS_BACK:
        before = tl.load(clean + at - SIZE, real & (k > 0), 0.0)
    pushed = push(step, tl.load(bounds), found, before, tl.load(noise + at, real, 0.0), KEEPS_UNCLIPPED, LOOKS_BACK)
    tl.store(clean + at, found, real)
    tl.store(x + b * SIZE + d, tl.load(step + A) * state + pushed, real)


class TritonPass(Pass):
    """Computes the same steps as `Pass`, on the same buffers, with a Triton kernel."""

    def __init__(self, solver: Sequential, denoiser: Denoiser, condition: Tensor, noise: NoisePath, whole: bool):
        super().__init__(solver, denoiser, condition, noise, whole)
        self._bound = self.table.clip_bound
        self._options: dict[str, Any] = options_of(self.table, self.sample.shape[1])

    def advance(self) -> None:
        self.sample.copy_(self.initial.flatten(1))
        watch, self.done = Watch(self.deadline), self.table.steps
        for k, t in enumerate(self.timesteps):
            if watch.over(wait=self.arrived):
                self.sample.copy_(self.complete(self.sample, k))
                break
            prediction = predict(self.denoiser, self.sample.reshape(self.shape), t, self.condition).contiguous()
            with torch.cuda.device_of(self.sample):
                take_step[(len(self.sample),)](
                    self.table.columns, self._bound, self.sample, prediction, self.noise, self.clean, k, self.table.steps,
                    **self._options,
                )  # fmt: skip

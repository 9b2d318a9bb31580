"""One step after another: the reference that every parallel solver must equal."""

from dataclasses import dataclass

import torch
from torch import Tensor

from paradp.sampler.noise import NoisePath
from paradp.sampler.solution import Denoiser, Solution, SolverStats, final_status, predict
from paradp.sampler.table import StepTable


@dataclass(frozen=True)
class Sequential:
    """Sampling along a table: T rounds of one evaluation for each environment."""

    table: StepTable

    @torch.no_grad()
    def solve(self, denoiser: Denoiser, condition: Tensor, noise: NoisePath) -> Solution:
        """Samples `[B, …]` for conditions `[B, C]` on a noise path."""
        x = noise.initial
        table = self.table.to(x.device, x.dtype)
        before = torch.zeros_like(x) if table.looks_back else None
        for k in range(table.steps):
            step = torch.full((len(x),), k, device=x.device)
            clean = table.clean(x, predict(denoiser, x, table.timesteps[step], condition), step)
            x = table.a[k] * x + table.push(clean, before, noise.steps[:, k], step)
            if before is not None:
                before = clean
        counts = torch.full((len(x),), table.steps, device=x.device)
        return Solution(x, SolverStats(counts, counts.clone(), torch.zeros_like(counts, dtype=x.dtype), final_status(x)))

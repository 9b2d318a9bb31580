"""One step after another: the reference that every parallel solver must equal."""

from dataclasses import dataclass

import torch
from torch import Tensor

from paradp.sampler.noise import NoisePath
from paradp.sampler.solution import Denoiser, Solution, SolverStats, check_inputs, outcome, predict
from paradp.sampler.table import StepTable


@dataclass(frozen=True)
class Sequential:
    """Sampling along a table: T rounds of one evaluation for each environment."""

    table: StepTable

    @property
    def window(self) -> int:
        """One step a round."""
        return 1

    @torch.no_grad()
    def solve(self, denoiser: Denoiser, condition: Tensor, noise: NoisePath, guess: Tensor | None = None) -> Solution:
        """Samples `[B, …]` for conditions `[B, C]` on a noise path; a guess is of no use here."""
        check_inputs(self.table, condition, noise)
        x = noise.initial
        table = self.table.to(x.device, x.dtype)
        before = torch.zeros_like(x) if table.looks_back else None
        predicted = []
        for k in range(table.steps):
            step = torch.full((len(x),), k, device=x.device)
            clean = table.clean(x, predict(denoiser, x, table.timesteps[step], condition), step)
            x = table.a[k] * x + table.push(clean, before, noise.steps[:, k], step)
            predicted.append(clean)
            if before is not None:
                before = clean
        counts = torch.full((len(x),), table.steps, device=x.device)
        residual = torch.zeros_like(counts, dtype=x.dtype)
        return Solution(x, SolverStats(counts, counts.clone(), residual, *outcome(x, torch.stack(predicted, 1))))

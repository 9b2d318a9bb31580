"""Sampling a chunk that matches known actions: inpainting."""

import torch
from torch import Tensor

from paradp.policy.engines.engine import Engine
from paradp.sampler import StepTable


class Inpainting:
    """A denoiser that pulls its prediction towards a known chunk, with a weight w per step of the chunk.

    It replaces the predicted clean sample x̂0 by (1 − w) clip(x̂0) + w · known. Where w is 1, a DDPM step is a draw from
    q(x_{k+1} | x_k, x_0 = known): the known part follows the diffusion of the known actions (RePaint, Lugmayr et al. 2022),
    and the rest is denoised together with it. Every solver can use it.

    Args:
        engine: computes the network.
        table: the solver's steps.
    """

    def __init__(self, engine: Engine, table: StepTable):
        self.graphs = None if engine.graphs is None else engine.graphs.another()
        self._engine = engine
        self._table = table
        # The row of the table for each timestep that is passed to the network.
        self._row = torch.zeros(int(table.timesteps.max()) + 1, dtype=torch.int64)
        self._row[table.timesteps] = torch.arange(table.steps)

    def encode(self, condition: Tensor, known: Tensor, weight: Tensor) -> Tensor:
        """Packs conditions `[B, C]`, known chunks `[B, H, A]` (normalised) and weights w `[B, H]` into one condition."""
        # Moved here and not in `__call__`, which may be captured in a CUDA graph.
        self._row = self._row.to(condition.device)
        return torch.cat([self._engine.encode(condition), known.flatten(1), weight], 1)

    def __call__(self, x: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        sizes = [condition.shape[1] - x[0].numel() - x.shape[1], x[0].numel(), x.shape[1]]
        encoded, known, weight = condition.split(sizes, 1)
        # Cloned: of a single row, `contiguous` would keep the strides of the whole, for which a compiler compiles again.
        prediction = self._engine(x, t, encoded.clone(memory_format=torch.contiguous_format))
        table = self._table.to(x.device, x.dtype)
        step = table.at(self._row[t])
        clean = table.bound(step.clean(x.flatten(1), prediction.flatten(1)))
        weight = weight.repeat_interleave(x.shape[2], 1)
        kept = clean + weight * (known - clean)
        held = (kept - step.from_state * x.flatten(1)) / step.from_prediction
        # Where the weight is 0 the prediction is unchanged, bit for bit.
        return torch.where(weight > 0, held, prediction.flatten(1)).view_as(x)

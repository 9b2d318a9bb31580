"""How a new chunk joins the one that is being executed: in its place, blended with it, or denoised to agree with it.

| joining | |
| --- | --- |
| `replace` | the new chunk takes over at once |
| `blend` | over the actions that both have, the old chunk's weight falls linearly to 0 |
| `inpaint` | the chunk is denoised with the actions known that will be executed before it comes, and softly those after |
"""

from collections.abc import Collection

import numpy as np
import torch
from torch import Tensor

from paradp.policy.engines.engine import Engine
from paradp.sampler import StepTable


def blended(old: Collection[np.ndarray], new: np.ndarray) -> np.ndarray:
    """The new actions `[K, A]`, begun with what is left of the old ones, whose weight falls linearly."""
    both = min(len(old), len(new))
    if not both:
        return new
    weight = 1 - np.arange(1, both + 1, dtype=new.dtype)[:, None] / (both + 1)
    mixed = new.copy()
    mixed[:both] = weight * np.stack(list(old)[:both]) + (1 - weight) * new[:both]
    return mixed


def soft_mask(horizon: int, past: int, late: int, left: int) -> np.ndarray:
    """How much of the old chunk each step of the new one keeps, `[H]` from 1 to 0 (soft masking, Black et al.
    2025, arXiv 2506.07339).

    Args:
        horizon: H.
        past: To − 1, predicted steps that are over.
        late: actions that will be executed before the new chunk is there; kept whole, like those that are over.
        left: actions that the old chunk still has; beyond them there is nothing to keep.
    """
    step = np.arange(horizon) - past
    late = min(late, left)  # what the old chunk no longer has cannot be executed either
    c = ((left - step) / (left - late + 1)).clip(0, 1)
    weight = c * np.expm1(c) / np.expm1(1.0)
    return np.where(step < late, 1.0, np.where(step < left, weight, 0.0)).astype(np.float32)


class Inpainting:
    """A denoiser that agrees with a chunk known beforehand, as far as it is told to.

    Of the clean sample x̂0 that a network predicts it takes (1 − w) clip(x̂0) + w · known. Where w is 1 a step of DDPM is then
    drawn from q(x_{k+1} | x_k, x_0 = known): the known part takes the path that diffusion itself would have taken (RePaint,
    Lugmayr et al. 2022), and the rest is denoised beside it, by any solver.

    Args:
        engine: computes the network.
        table: of the solver's steps.
    """

    def __init__(self, engine: Engine, table: StepTable):
        self.graphs = None if engine.graphs is None else engine.graphs.another()
        self._engine = engine
        self._table = table
        # By timestep, as the network is told it.
        self._row = torch.zeros(int(table.timesteps.max()) + 1, dtype=torch.int64)
        self._row[table.timesteps] = torch.arange(table.steps)

    def encode(self, condition: Tensor, known: Tensor, weight: Tensor) -> Tensor:
        """What calls take for conditions `[B, C]`, known chunks `[B, H, A]` in normalised units, and weights w `[B, H]`."""
        # Not in a call, which may be captured in a graph.
        self._row = self._row.to(condition.device)
        return torch.cat([self._engine.encode(condition), known.flatten(1), weight], 1)

    def __call__(self, x: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        sizes = [condition.shape[1] - x[0].numel() - x.shape[1], x[0].numel(), x.shape[1]]
        encoded, known, weight = condition.split(sizes, 1)
        prediction = self._engine(x, t, encoded.contiguous())
        table = self._table.to(x.device, x.dtype)
        step = table.at(self._row[t])
        clean = table.bound(step.clean(x.flatten(1), prediction.flatten(1)))
        weight = weight.repeat_interleave(x.shape[2], 1)
        kept = clean + weight * (known - clean)
        held = (kept - step.from_state * x.flatten(1)) / step.from_prediction
        # What is not held stays as it was predicted, to the bit.
        return torch.where(weight > 0, held, prediction.flatten(1)).view_as(x)

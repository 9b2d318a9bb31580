"""The rows of whole windows, and how kernels are launched for them."""

import math
from typing import Any

import torch
import triton
from torch import Tensor

from paradp.sampler.rounds.windows import WindowRounds
from paradp.sampler.solution import predict

# A warp's threads hold so many elements of a vector each, as far as there are warps.
ELEMENTS_PER_THREAD = 8
MOST_WARPS = 16


class WholeRows:
    """The rows of all windows, p for each environment, whether they are steps or not.

    Args:
        rounds: whose windows these are.

    Attributes:
        x: `[B, p, D]`, states for the network.
        t: `[B, p]`, their timesteps.
        bound: `[]`, of |x̂0|; infinite where nothing is clipped.
    """

    def __init__(self, rounds: WindowRounds):
        batch, like = len(rounds.base), rounds.initial
        self._rounds = rounds
        self.x = like.new_zeros(batch, rounds.width, rounds.size)
        self.t = torch.zeros(batch, rounds.width, dtype=torch.int64, device=like.device)
        self.bound = like.new_tensor(math.inf if rounds.table.clip is None else rounds.table.clip)
        condition = rounds.condition
        self._conditions = condition.new_empty(batch, rounds.width, *condition.shape[1:])
        self._block = triton.next_power_of_2(rounds.size)
        self._options = {
            "SIZE": rounds.size,
            "BLOCK": self._block,
            "KEEPS_UNCLIPPED": rounds.table.keeps_unclipped,
            "LOOKS_BACK": rounds.table.looks_back,
            "num_warps": min(max(self._block // (32 * ELEMENTS_PER_THREAD), 1), MOST_WARPS),
        }

    def begin(self) -> None:
        """Repeats every environment's condition for its rows."""
        self._conditions.copy_(self._rounds.condition[:, None].expand_as(self._conditions))

    def launch(self, kernel: Any, *arguments: Any, **options: bool) -> None:
        """Launches a kernel with a program for each environment."""
        with torch.cuda.device_of(self.x):
            kernel[(len(self.x),)](*arguments, **self._options, **options)

    def predict(self, ends: Tensor | None) -> Tensor:
        """The network's predictions at all rows, `[B · p, …]`; those that are no steps have no meaning.

        Args:
            ends: `[B]`, the steps before which windows end at the latest.
        """
        rounds = self._rounds
        x, t = self.x.view(-1, *rounds.shape[1:]), self.t.flatten()
        conditions = self._conditions.flatten(0, 1)
        if rounds.whole:
            return predict(rounds.denoiser, x, t, conditions).contiguous()
        keep = rounds.window(rounds.base, limit=ends).inside.flatten().nonzero().squeeze(1)
        prediction = torch.zeros_like(x)
        prediction[keep] = predict(rounds.denoiser, x[keep], t[keep], conditions[keep])
        return prediction

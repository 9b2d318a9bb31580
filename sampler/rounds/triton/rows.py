"""The rows of all windows with padding, and the launch of kernels on them."""

from typing import Any

import torch
import triton
from torch import Tensor

from paradp.sampler.rounds.windows import WindowRounds
from paradp.sampler.solution import predict
from paradp.sampler.table import StepTable

# Elements of a vector for each thread, unless that needs more than `MOST_WARPS` warps.
ELEMENTS_PER_THREAD = 8
MOST_WARPS = 16


def options_of(table: StepTable, size: int) -> dict[str, Any]:
    """Compile-time options of the kernels: size of a sample, optional terms of the table's steps, number of warps."""
    block = triton.next_power_of_2(size)
    return {
        "SIZE": size,
        "BLOCK": block,
        "KEEPS_UNCLIPPED": table.keeps_unclipped,
        "LOOKS_BACK": table.looks_back,
        "num_warps": min(max(block // (32 * ELEMENTS_PER_THREAD), 1), MOST_WARPS),
    }


class WholeRows:
    """The rows of all windows, p for each environment, including padding.

    Args:
        rounds: the rounds with these windows.

    Attributes:
        x: `[B, p, D]`, states for the network.
        t: `[B, p]`, their timesteps.
        bound: `StepTable.clip_bound`.
    """

    def __init__(self, rounds: WindowRounds):
        batch, like = len(rounds.base), rounds.initial
        self._rounds = rounds
        self.x = like.new_zeros(batch, rounds.width, rounds.size)
        self.t = rounds.table.timesteps.new_zeros(batch, rounds.width)
        self.bound = rounds.table.clip_bound
        condition = rounds.condition
        self._conditions = condition.new_empty(batch, rounds.width, *condition.shape[1:])
        self._options = options_of(rounds.table, rounds.size)

    def begin(self) -> None:
        """Repeats every environment's condition for its rows."""
        self._conditions.copy_(self._rounds.condition[:, None].expand_as(self._conditions))

    def launch(self, kernel: Any, *arguments: Any, programs: int = 1, **options: int) -> None:
        """Launches a kernel with the given number of programs for each environment."""
        with torch.cuda.device_of(self.x):
            kernel[(len(self.x), programs)](*arguments, **self._options, **options)

    def predict(self, ends: Tensor | None) -> Tensor:
        """The network's predictions at all rows, `[B · p, …]`; undefined for padding.

        Args:
            ends: `[B]`, upper limits of the windows' steps (exclusive).
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

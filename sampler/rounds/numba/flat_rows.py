"""The rows of all windows without padding, in arrays that share memory with tensors."""

import numpy as np
import torch
from torch import Tensor

from paradp.sampler.rounds.memory import gather, zeros
from paradp.sampler.rounds.numba import loops
from paradp.sampler.rounds.windows import WindowRounds
from paradp.sampler.solution import predict


class FlatRows:
    """The rows of all windows without padding, for `loops`, in arrays that share memory with tensors.

    Args:
        rounds: the rounds with these windows.
        buffers: number of buffers `[n, D]`; the first is for the states.
    """

    def __init__(self, rounds: WindowRounds, buffers: int):
        most = len(rounds.base) * rounds.width
        self._rounds = rounds
        self._where = torch.zeros(2, most, dtype=torch.int64)
        self._at = zeros((most,), rounds.table.timesteps)
        self._states = zeros((buffers, most, rounds.size), rounds.initial)
        self._views: dict[int, tuple[Tensor, ...]] = {}
        self._base, self._timesteps = arrays(rounds.base, rounds.table.timesteps)
        self._ends = np.full_like(self._base, rounds.table.steps)
        self._env, self._step, self._t = arrays(*self._where, self._at)
        self.buffers = arrays(*self._states)
        (self.table,) = arrays(rounds.table.columns)
        self.bound = rounds.table.clip_bound.numpy()[()]

    def look(self, limit: np.ndarray | None = None) -> tuple[int, np.ndarray, np.ndarray]:
        """The number of rows in the next round, their environments and their steps; without steps from `limit` `[B]` on."""
        ends = self._ends if limit is None else limit
        n = loops.look(self._base, ends, self._timesteps, self._rounds.width, self._env, self._step, self._t)
        return n, self._env, self._step

    def predict(self, n: int) -> np.ndarray:
        """The network's predictions at the states of the first n rows, `[n, D]`."""
        if n not in self._views:
            self._views[n] = self._states[0, :n].view(n, *self._rounds.shape[1:]), self._where[0, :n], self._at[:n]
        x, env, t = self._views[n]
        condition = self._rounds.condition
        each = gather(condition, env) if len(condition) > 1 else condition.expand(n, -1)
        return predict(self._rounds.denoiser, x, t, each).detach().numpy().reshape(n, -1)


def arrays(*tensors: Tensor) -> list[np.ndarray]:
    """Arrays that share memory with these tensors."""
    return [tensor.numpy() for tensor in tensors]

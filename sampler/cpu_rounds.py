"""The rounds of all solvers on a CPU: the same buffers, advanced by the compiled loops of `paradp.sampler.fused`."""

import math

import numpy as np
import torch
from torch import Tensor

from paradp.sampler import fused
from paradp.sampler.drafts import gains_of
from paradp.sampler.memory import copy, gather, zeros
from paradp.sampler.noise import NoisePath
from paradp.sampler.options import SECANTS
from paradp.sampler.picard import Iteration, Picard
from paradp.sampler.rounds import Watch
from paradp.sampler.sequential import Pass
from paradp.sampler.solution import Denoiser, predict
from paradp.sampler.speculative import Speculation, Speculative
from paradp.sampler.table import StepTable
from paradp.sampler.windows import WindowRounds


class FlatRows:
    """The rows of all windows without gaps, for `paradp.sampler.fused`: its arrays share their memory with tensors.

    Args:
        rounds: whose windows these are.
        buffers: how many buffers `[n, D]` there are; the first is for the states.
    """

    def __init__(self, rounds: WindowRounds, buffers: int):
        most = len(rounds.base) * rounds.width
        self._rounds = rounds
        self._where = torch.zeros(3, most, dtype=torch.int64)
        self._states = zeros((buffers, most, rounds.size), rounds.initial)
        self._views: dict[int, tuple[Tensor, ...]] = {}
        self._base, self._timesteps = arrays(rounds.base, rounds.table.timesteps)
        self._ends = np.full_like(self._base, rounds.table.steps)
        self._env, self._step, self._t = arrays(*self._where)
        self.buffers = arrays(*self._states)
        (self.table,) = arrays(rounds.table.columns)
        self.bound = clip_bound(rounds.table)

    def look(self, limit: np.ndarray | None = None) -> tuple[int, np.ndarray, np.ndarray]:
        """How many rows the next round has, their environments and their steps; those from `limit` `[B]` on are left out."""
        ends = self._ends if limit is None else limit
        n = fused.look(self._base, ends, self._timesteps, self._rounds.width, self._env, self._step, self._t)
        return n, self._env, self._step

    def predict(self, n: int) -> np.ndarray:
        """The network's predictions at the states of the first n rows, `[n, D]`."""
        if n not in self._views:
            self._views[n] = self._states[0, :n].view(n, *self._rounds.shape[1:]), *self._where[::2, :n]
        x, env, t = self._views[n]
        condition = self._rounds.condition
        each = gather(condition, env) if len(condition) > 1 else condition.expand(n, -1)
        return predict(self._rounds.denoiser, x, t, each).detach().numpy().reshape(n, -1)


def arrays(*tensors: Tensor) -> list[np.ndarray]:
    """Tensors as arrays that share their memory."""
    return [tensor.numpy() for tensor in tensors]


def clip_bound(table: StepTable) -> np.generic:
    """The bound of |x̂0| as the loops take it."""
    return table.columns.numpy().dtype.type(math.inf if table.clip is None else table.clip)


class FusedIteration(Iteration):
    """The same rounds on the same buffers, by compiled loops."""

    def __init__(self, solver: Picard, denoiser: Denoiser, condition: Tensor, noise: NoisePath, whole: bool):
        super().__init__(solver, denoiser, condition, noise, whole)
        self._rows = FlatRows(self, buffers=1)
        self._path = arrays(self.states.all, self.clean.all)
        self._pointers = arrays(self.base, self.furthest, self.rounds, self.evaluations, self.residual)
        self._noise, self._scale = arrays(self.noise.all, self.table.scale)

    def advance(self) -> None:
        rows, solver, (states, _), (_, furthest, *_) = self._rows, self.solver, self._path, self._pointers
        (x,) = rows.buffers
        at = rows.look()
        fused.read(states, furthest, *at, x)
        fused.iterate(
            rows.table, self._scale, rows.bound, solver.split == "linear", self.rolls, solver.tolerance, solver.window,
            *self._path, *self._pointers, self._noise, *at, x, rows.predict(at[0]),
        )  # fmt: skip


class FusedSpeculation(Speculation):
    """The same rounds on the same buffers, by compiled loops."""

    def __init__(self, solver: Speculative, denoiser: Denoiser, condition: Tensor, noise: NoisePath, whole: bool):
        super().__init__(solver, denoiser, condition, noise, whole)
        guesses = self.guesses
        self._rows = FlatRows(self, buffers=3)
        self._memory = arrays(guesses.kept.all, guesses.evaluated, self.base)
        self._counters = arrays(self.rounds, self.evaluations)
        self._path = arrays(self.exact, self.noise.all)
        self._slope, self._uniforms = arrays(guesses.slope[:, 0], self.log_u.all)
        self._levels, self._into, self._out = self._learned()

    def advance(self) -> None:
        rows, draft = self._rows, self.solver.draft
        (x, guess, following), (kept, evaluated, base) = rows.buffers, self._memory
        at = rows.look(None if self.solver.ahead is None else evaluated[:, 0] + self.solver.ahead)
        fused.draft(
            rows.table, self._slope, self._levels, self._into, self._out, self._gains(*at), rows.bound, draft == "frozen",
            kept, evaluated, base, *self._path, *at, x, guess, following,
        )  # fmt: skip
        prediction = rows.predict(at[0])
        fused.settle(
            rows.table, rows.bound, draft in SECANTS, kept, evaluated, base, *self._counters, *self._path, self._uniforms,
            *at, x, guess, following, prediction,
        )  # fmt: skip

    def _learned(self) -> list[np.ndarray]:
        """The table's noise levels and the model's matrices in the samples' type; empty where there is no model."""
        model, like = self.solver.model, self.exact
        if model is None:
            return arrays(like.new_zeros(3, 0), like.new_zeros(self.size, 0), like.new_zeros(0, self.size))
        levels = self.guesses.levels
        stacked = torch.stack([levels.snr, levels.follows, levels.root])
        return arrays(stacked, *(matrix.detach().to(like).contiguous() for matrix in (model.into, model.out)))

    def _gains(self, n: int, env: np.ndarray, steps: np.ndarray) -> np.ndarray:
        """The model's gains for the next round's rows, `[n, r]`."""
        if self.solver.model is None:
            return self._out[:, :0]
        env, steps, known = env[:n], steps[:n], self._memory[1][env[:n], 0]
        source = np.minimum(steps, known - 1).clip(0)
        held, made_at = (torch.from_numpy(self._memory[0][env, source, i]) for i in (fused.PREDICTION, fused.STATE))
        snr = self.guesses.levels.snr
        since = torch.from_numpy(np.where(known > 0, source, self.table.steps))
        levels = snr[torch.from_numpy(steps)][:, None], snr[since][:, None]
        return gains_of(self.solver.model, held, made_at, *levels).detach().numpy()


class FusedPass(Pass):
    """The same steps, by compiled loops."""

    def advance(self) -> None:
        (table,), noise, bound = arrays(self.table.columns), self.noise.numpy(), clip_bound(self.table)
        state = self.initial.flatten(1).clone()
        clean = zeros((self.table.steps, *state.shape), state)
        x, cleans = arrays(state, clean)
        watch, self.done = Watch(self.deadline), self.table.steps
        for k, t in enumerate(self.timesteps):
            if watch.over():
                self.done = k
                break
            prediction = predict(self.denoiser, state.reshape(self.shape), t, self.condition).detach()
            fused.step(table, k, bound, x, prediction.flatten(1).numpy(), cleans[max(k - 1, 0)], noise[:, k], cleans[k])
        copy(self.clean, clean.transpose(0, 1))
        copy(self.sample, state if self.done == self.table.steps else self.complete(state, self.done))

"""The rounds of speculative sampling as compiled loops."""

import numpy as np
import torch
from torch import Tensor

from paradp.sampler.noise import NoisePath
from paradp.sampler.options import SECANTS
from paradp.sampler.rounds.numba import loops
from paradp.sampler.rounds.numba.flat_rows import FlatRows, arrays
from paradp.sampler.rounds.torch.drafts import gains_of
from paradp.sampler.rounds.torch.speculative import Speculation
from paradp.sampler.solution import Denoiser
from paradp.sampler.solvers.speculative import Speculative


class NumbaSpeculation(Speculation):
    """Computes the same rounds as `Speculation`, on the same buffers, with compiled loops."""

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
        loops.draft(
            rows.table, self._slope, self._levels, self._into, self._out, self._gains(*at), rows.bound, draft == "frozen",
            kept, evaluated, base, *self._path, *at, x, guess, following,
        )  # fmt: skip
        prediction = rows.predict(at[0])
        loops.settle(
            rows.table, rows.bound, draft in SECANTS, kept, evaluated, base, *self._counters, *self._path, self._uniforms,
            *at, x, guess, following, prediction,
        )  # fmt: skip

    def _learned(self) -> list[np.ndarray]:
        """The table's noise levels and the model's matrices in the samples' type; empty without a model."""
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
        env, steps, reached = env[:n], steps[:n], self._memory[1][env[:n], 0]
        source = np.minimum(steps, reached - 1).clip(0)
        held, made_at = (torch.from_numpy(self._memory[0][env, source, i]) for i in (loops.PREDICTION, loops.STATE))
        snr = self.guesses.levels.snr
        since = torch.from_numpy(np.where(reached > 0, source, self.table.steps))
        levels = snr[torch.from_numpy(steps)][:, None], snr[since][:, None]
        return gains_of(self.solver.model, held, made_at, *levels).detach().numpy()

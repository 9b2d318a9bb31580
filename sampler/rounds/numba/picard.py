"""The rounds of Picard iteration as compiled loops."""

from torch import Tensor

from paradp.sampler.noise import NoisePath
from paradp.sampler.rounds.numba import loops
from paradp.sampler.rounds.numba.flat_rows import FlatRows, arrays
from paradp.sampler.rounds.torch.picard import Iteration
from paradp.sampler.solution import Denoiser
from paradp.sampler.solvers.picard import Picard


class NumbaIteration(Iteration):
    """Computes the same rounds as `Iteration`, on the same buffers, with compiled loops."""

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
        loops.read(states, furthest, *at, x)
        loops.iterate(
            rows.table, self._scale, rows.bound, solver.split == "linear", self.rolls, solver.tolerance, solver.window,
            *self._path, *self._pointers, self._noise, *at, x, rows.predict(at[0]),
        )  # fmt: skip

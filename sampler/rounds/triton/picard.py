"""The rounds of Picard iteration on a GPU: each is two kernels and one call of the network."""

import torch
from torch import Tensor

from paradp.sampler.noise import NoisePath
from paradp.sampler.rounds.torch.picard import Iteration
from paradp.sampler.rounds.triton import picard_kernels as kernels
from paradp.sampler.rounds.triton.rows import WholeRows
from paradp.sampler.solution import Denoiser
from paradp.sampler.solvers.picard import Picard


class TritonIteration(Iteration):
    """Computes the same rounds as `Iteration`, on the same buffers, with Triton kernels."""

    def __init__(self, solver: Picard, denoiser: Denoiser, condition: Tensor, noise: NoisePath, whole: bool):
        super().__init__(solver, denoiser, condition, noise, whole)
        self._rows = WholeRows(self)
        self._tolerance = self.initial.new_tensor(solver.tolerance)

    def begin(self) -> None:
        rows = self._rows
        rows.begin()
        self.states.all[:, 0] = self.initial.flatten(1)
        if self.rolls:
            rows.launch(
                kernels.enter,
                self.table.columns, rows.bound, self.states.all, self.clean.all, self.furthest, self.noise.all,
                self.table.steps, self.width,
            )  # fmt: skip

    def advance(self) -> None:
        rows, table, path = self._rows, self.table, (self.states.all, self.clean.all)
        window = (table.steps, self.width)
        rows.launch(
            kernels.read,
            table.timesteps, self.states.all, self.base, self.furthest, rows.x, rows.t, *window, programs=self.width,
        )  # fmt: skip
        prediction = rows.predict(None)
        rows.launch(
            kernels.iterate,
            table.columns, table.scale, rows.bound, self._tolerance, *path, self.base, self.furthest, self.rounds,
            self.evaluations, self.residual, self.noise.all, rows.x, prediction, *window,
            LINEAR=self.solver.split == "linear", ROLLS=self.rolls,
        )  # fmt: skip

    def _complete(self) -> Tensor:
        rows, samples = self._rows, torch.empty_like(self.states.all[:, 0])
        rows.launch(
            kernels.complete,
            self.table.columns, rows.bound, self.states.all, self.clean.all, self.base, self.noise.all, samples,
            self.table.steps,
        )  # fmt: skip
        return samples

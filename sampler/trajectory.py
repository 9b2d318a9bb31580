"""The states x_0 … x_T of all environments, and the predictions that were made along them."""

import torch
from torch import Tensor

from paradp.sampler.noise import NoisePath
from paradp.sampler.solution import Denoiser, predict
from paradp.sampler.table import StepTable, rows


class Trajectory:
    """States `[B, T+1, …]` and held predictions x̂0 `[B, T, …]` (not clipped) on a noise path.

    A step that was never evaluated is taken to have the prediction of the furthest one that was.
    """

    def __init__(self, table: StepTable, noise: NoisePath):
        batch, shape = len(noise.initial), noise.initial.shape[1:]
        self.table = table
        self.noise = noise
        self.states = noise.initial.new_zeros(batch, table.steps + 1, *shape)
        self.states[:, 0] = noise.initial
        self.clean = noise.initial.new_zeros(batch, table.steps, *shape)
        self.evaluated = torch.zeros(batch, dtype=torch.int64, device=noise.initial.device)

    def evaluate(self, env: Tensor, step: Tensor, inside: Tensor, x: Tensor, denoiser: Denoiser, condition: Tensor) -> None:
        """Calls the network once, for the flat batch of all rows that exist, and holds what it predicts.

        Args:
            env, step: `[E, 1]` and `[E, n]`, whose rows these are and at which steps.
            inside: `[E, n]`, which of them exist.
            x: `[E, n, …]`, the states.
            denoiser, condition: as in `Solver.solve`.
        """
        row, at, states = env.expand_as(step)[inside], step[inside], x[inside]
        prediction = predict(denoiser, states, self.table.timesteps[at], condition[row])
        self.clean[row, at] = self.table.clean(states, prediction, at)
        reached = torch.where(inside, step + 1, 0).amax(1)
        self.evaluated[env[:, 0]] = torch.maximum(self.evaluated[env[:, 0]], reached)

    def push(self, env: Tensor, step: Tensor) -> Tensor:
        """All of x_{k+1} but a_k x_k at steps `[E, n]` of environments `[E, 1]`."""
        before = self._held(env, step - 1) if self.table.looks_back else None
        return self.table.push(self._held(env, step), before, self.noise.steps[env, step], step)

    def roll(self, env: Tensor, step: Tensor) -> Tensor:
        """The states after each of the consecutive steps `[E, n]`, from the state at the first, by the held predictions.

        The arithmetic is that of the sequential solver, step by step, so that predictions that do not change any more give
        its states to the last bit.
        """
        x = self.states[env[:, 0], step[:, 0]]
        pushed = self.push(env, step)
        states = []
        for i in range(step.shape[1]):
            x = rows(self.table.a[step[:, i]], x) * x + pushed[:, i]
            states.append(x)
        return torch.stack(states, dim=1)

    def _held(self, env: Tensor, step: Tensor) -> Tensor:
        return self.clean[env, torch.minimum(step, self.evaluated[env] - 1).clamp(min=0)]

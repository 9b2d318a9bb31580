"""The states x_0 … x_T of all environments, the predictions made along them, and the windows that rounds look at."""

from dataclasses import dataclass

import torch
from torch import Tensor

from paradp.sampler.noise import NoisePath
from paradp.sampler.solution import Denoiser, predict
from paradp.sampler.table import StepTable, rows


@dataclass(frozen=True)
class Window:
    """The steps that one round looks at, for E environments, up to p each.

    Attributes:
        env: `[E, 1]`, which environments.
        step: `[E, p]`, which steps; those past the last are kept at the last.
        inside: `[E, p]`, which of them are steps at all.
    """

    env: Tensor
    step: Tensor
    inside: Tensor

    @classmethod
    def of(cls, active: Tensor, first: Tensor, width: int, steps: int) -> "Window":
        """`width` steps from `first` `[E]` on, of the environments `active` `[E]`, on trajectories of `steps` steps."""
        step = first[:, None] + torch.arange(min(width, steps), device=first.device)
        return cls(active[:, None], step.clamp(max=steps - 1), step < steps)

    @property
    def width(self) -> Tensor:
        """How many steps there are for each environment, `[E]`."""
        return self.inside.sum(1)

    @property
    def flat(self) -> tuple[Tensor, Tensor]:
        """Environment and step of all rows that exist, `[n]` each."""
        return self.env.expand_as(self.step)[self.inside], self.step[self.inside]


class Trajectory:
    """States `[B, T+1, …]` and held predictions x̂0 `[B, T, …]` (not clipped) on a noise path.

    A step that was never evaluated is taken to have the prediction of the furthest one that was; before any, that is the
    first guess `[B, …]`, or 0.
    """

    def __init__(self, table: StepTable, noise: NoisePath, guess: Tensor | None = None):
        batch, shape, device = len(noise.initial), noise.initial.shape[1:], noise.initial.device
        self.table = table
        self.noise = noise
        self.states = noise.initial.new_zeros(batch, table.steps + 1, *shape)
        self.states[:, 0] = noise.initial
        self.clean = noise.initial.new_zeros(batch, table.steps, *shape)
        if guess is not None:
            self.clean[:, 0] = guess
        self.evaluated = torch.zeros(batch, dtype=torch.int64, device=device)

    def evaluate(self, window: Window, x: Tensor, denoiser: Denoiser, condition: Tensor) -> Tensor:
        """Calls the network once, for the flat batch of a window's rows, and holds what it predicts.

        Args:
            window: whose rows these are.
            x: `[E, p, …]`, their states.
            denoiser, condition: as in `Solver.solve`.

        Returns:
            The predictions x̂0, not clipped, `[E, p, …]`; 0 where there is no step.
        """
        env, step = window.flat
        states = x[window.inside]
        clean = self.table.clean(states, predict(denoiser, states, self.table.timesteps[step], condition[env]), step)
        self.clean[env, step] = clean
        active = window.env[:, 0]
        reached = torch.where(window.inside, window.step + 1, 0).amax(1)
        self.evaluated[active] = torch.maximum(self.evaluated[active], reached)
        padded = torch.zeros_like(x)
        padded[window.inside] = clean
        return padded

    def push(self, window: Window) -> Tensor:
        """All of x_{k+1} but a_k x_k at a window's steps, by the held predictions: `[E, p, …]`."""
        env, step = window.env, window.step
        before = self._held(env, step - 1) if self.table.looks_back else None
        return self.table.push(self._held(env, step), before, self.noise.steps[env, step], step)

    def roll(self, window: Window) -> Tensor:
        """The states after each step of a window, `[E, p, …]`, from the state at its first, by the held predictions.

        The arithmetic is that of the sequential solver, step by step, so that predictions that do not change any more give
        its states to the last bit.
        """
        x = self.states[window.env[:, 0], window.step[:, 0]]
        pushed = self.push(window)
        states = []
        for i in range(window.step.shape[1]):
            x = rows(self.table.a[window.step[:, i]], x) * x + pushed[:, i]
            states.append(x)
        return torch.stack(states, dim=1)

    def _held(self, env: Tensor, step: Tensor) -> Tensor:
        return self.clean[env, torch.minimum(step, self.evaluated[env] - 1).clamp(min=0)]

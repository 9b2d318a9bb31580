"""Guesses at predictions that have not been made yet, and the drafts of states that follow from them."""

from typing import Literal

import torch
from torch import Tensor

from paradp.sampler.solution import Denoiser
from paradp.sampler.table import rows
from paradp.sampler.trajectory import Trajectory, Window

Draft = Literal["secant", "picard", "frozen"]


class Guesses:
    """What a draft takes the network to predict at step j: a function of x_0 and of noise before step j, nothing else.

    Every step keeps its last prediction D_j, the state s_j that it was made at, and, for secant drafts, how both changed
    since the prediction before. Nothing here may look at a later step: docs/exactness.md says why.

    Args:
        trajectory: holds D_j, and the states that are exact already.
        slope: `[T]`, J_j: how far a prediction follows its state.
        draft: as in `Speculative`.
    """

    def __init__(self, trajectory: Trajectory, slope: Tensor, draft: Draft):
        self._trajectory = trajectory
        self._slope = slope
        self._draft = draft
        self._made_at = torch.zeros_like(trajectory.clean)
        self._moved = torch.zeros_like(trajectory.clean)
        self._changed = torch.zeros_like(trajectory.clean)

    def evaluate(self, window: Window, x: Tensor, denoiser: Denoiser, condition: Tensor) -> Tensor:
        """The network's predictions at a window's states, as `Trajectory.evaluate` returns them; they are the next D_j."""
        env, step = window.flat
        again = step < self._trajectory.evaluated[env]
        before = self._trajectory.clean[env, step]
        clean = self._trajectory.evaluate(window, x, denoiser, condition)
        states, after = x[window.inside], clean[window.inside]
        if self._draft == "secant":
            self._moved[env, step] = torch.where(rows(again, states), states - self._made_at[env, step], 0)
            self._changed[env, step] = torch.where(rows(again, states), after - before, 0)
        self._made_at[env, step] = states
        return clean

    def draft(self, window: Window, first: Tensor, base: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Rolls a window's first states forward by guessed predictions and known noise.

        Args:
            window: E environments, p steps.
            first: `[E, …]`, their exact states at the window's first steps.
            base: `[B]`, the first steps of all environments.
            noise: `[E, p, …]`, z.

        Returns:
            The drafted states and the clipped guesses at the predictions there, `[E, p, …]` each.
        """
        table, env, step = self._trajectory.table, window.env, window.step
        source = self._source(window, base)
        held, made_at = self._trajectory.clean[env, source], self._made_at[env, source]
        own = (source == step) & (step < self._trajectory.evaluated[env])
        slope = rows(torch.where(own, self._slope[step], 0), held)
        moved = rows(own, held) * self._moved[env, source]
        kink = self._changed[env, source] - slope * moved
        scale = moved.flatten(2).square().sum(2).clamp(min=torch.finfo(moved.dtype).tiny)
        x, states, guesses = first, [], []
        for i in range(step.shape[1]):
            away = x - made_at[:, i]
            share = (moved[:, i] * away).flatten(1).sum(1) / scale[:, i]
            # Beyond the last change itself the secant would extrapolate.
            guess = held[:, i] + slope[:, i] * away + rows(share.clamp(-1, 1), x) * kink[:, i]
            # A prediction at a draft far from any exact state may fail to be finite; an exact state must not inherit that.
            bounded = torch.where(guess.isfinite(), table.bound(guess), 0)
            states.append(x)
            guesses.append(bounded)
            a, c, sigma = (rows(column[step[:, i]], x) for column in (table.a, table.c, table.sigma))
            x = a * x + c * bounded + sigma * noise[:, i]
        return torch.stack(states, 1), torch.stack(guesses, 1)

    def _source(self, window: Window, base: Tensor) -> Tensor:
        """Whose prediction stands in at each step of the window, `[E, p]`: never a later step's."""
        known = base if self._draft == "frozen" else self._trajectory.evaluated
        return torch.minimum(window.step, known[window.env] - 1).clamp(min=0)

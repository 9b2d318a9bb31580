"""Triangular Anderson acceleration: a quasi-Newton step that respects the order of the trajectory."""

import torch
from torch import Tensor

from paradp.sampler.table import rows
from paradp.sampler.trajectory import Window

# Keeps the small systems solvable, relative to their size.
REGULARISATION = 1e-6


class Anderson:
    """Improves the rows of a window by what the last m rounds taught (Tang et al., ParaTAA, arXiv 2402.09970, §4).

    With ΔX and ΔR the last m differences of states and of residuals R = G(X) − X, and sums over rows no later than j:

        γ_j = (Σ ΔRᵀΔR + λI)⁻¹ Σ ΔRᵀR,        x_j ← x_j + R_j − (ΔX_j + ΔR_j) γ_j

    A row that has no history yet contributes nothing; a row that would not be finite takes the plain update.

    Args:
        memory: m.
        like: `[B, T+1, …]`, the states whose iterates are accelerated.
    """

    def __init__(self, memory: int, like: Tensor):
        self._states = like.new_zeros(memory + 1, *like.shape)
        self._residuals = like.new_zeros(memory + 1, *like.shape)
        self._known = torch.zeros(memory + 1, *like.shape[:2], dtype=torch.bool, device=like.device)

    def step(self, window: Window, old: Tensor, new: Tensor, moved: Tensor) -> Tensor:
        """The accelerated states `[E, p, …]`.

        Args:
            window: the steps that lead to these states.
            old, new: `[E, p, …]`, the states and their plain update.
            moved: `[E]`, how many of them the window moves past: these keep the plain update, whose fixed point they are.
        """
        residual = new - old
        self._remember(window, old, residual)
        env, index = window.env, window.step + 1
        known = self._known[:, env, index]
        pair = (known[:-1] & known[1:] & window.inside).to(old.dtype)
        states, residuals = self._states[:, env, index], self._residuals[:, env, index]
        d_states, d_residuals = ((h[:-1] - h[1:]) * rows(pair, h[1:]) for h in (states, residuals))
        flat = d_residuals.flatten(3)
        gram = torch.einsum("mejd,nejd->ejmn", flat, flat).cumsum(1)
        right = torch.einsum("mejd,ejd->ejm", flat, residual.flatten(2)).cumsum(1)
        size = gram.diagonal(dim1=-2, dim2=-1).amax(-1).clamp(min=torch.finfo(old.dtype).tiny)
        eye = torch.eye(len(flat), dtype=old.dtype, device=old.device)
        gamma = torch.linalg.solve_ex(gram / size[..., None, None] + REGULARISATION * eye, right / size[..., None])[0]
        corrected = new - torch.einsum("mej...,ejm->ej...", d_states + d_residuals, gamma)
        take = corrected.flatten(2).isfinite().all(2) & (torch.arange(old.shape[1], device=old.device) >= moved[:, None])
        return torch.where(rows(take, old), corrected, new)

    def _remember(self, window: Window, old: Tensor, residual: Tensor) -> None:
        """Shifts the history of these environments by one round and puts the present in front."""
        active = window.env[:, 0]
        for history in (self._states, self._residuals, self._known):
            history[1:, active] = history[:-1, active].clone()
        self._known[0, active] = False
        env, step = window.flat
        self._states[0, env, step + 1] = old[window.inside]
        self._residuals[0, env, step + 1] = residual[window.inside]
        self._known[0, env, step + 1] = True

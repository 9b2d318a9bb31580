"""Triangular Anderson acceleration: a quasi-Newton step that respects the order of the trajectory."""

import torch
from torch import Tensor

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

    def step(self, env: Tensor, index: Tensor, old: Tensor, new: Tensor, inside: Tensor, settled: Tensor) -> Tensor:
        """The accelerated states.

        Args:
            env, index: `[E, 1]` and `[E, p]`, whose states these are and which x_j.
            old, new: `[E, p, …]`, the states and their plain update.
            inside: `[E, p]`, which of them exist.
            settled: `[E, p]`, which keep the plain update.
        """
        residual = new - old
        self._remember(env, index, old, residual, inside)
        known = self._known[:, env, index]
        pair = (known[:-1] & known[1:]).to(old.dtype).reshape(len(known) - 1, *index.shape, *[1] * (old.ndim - 2))
        states, residuals = self._states[:, env, index], self._residuals[:, env, index]
        d_states, d_residuals = (states[:-1] - states[1:]) * pair, (residuals[:-1] - residuals[1:]) * pair
        flat = d_residuals.flatten(3)
        valid = inside.to(old.dtype)[..., None]
        gram = torch.einsum("mejd,nejd->ejmn", flat, flat * valid).cumsum(1)
        right = torch.einsum("mejd,ejd->ejm", flat, residual.flatten(2) * valid).cumsum(1)
        size = gram.diagonal(dim1=-2, dim2=-1).amax(-1).clamp(min=torch.finfo(old.dtype).tiny)
        eye = torch.eye(len(flat), dtype=old.dtype, device=old.device)
        gamma = torch.linalg.solve_ex(gram / size[..., None, None] + REGULARISATION * eye, right / size[..., None])[0]
        corrected = new - torch.einsum("mej...,ejm->ej...", d_states + d_residuals, gamma)
        finite = corrected.flatten(2).isfinite().all(2)
        take = (finite & ~settled).reshape(*finite.shape, *[1] * (old.ndim - 2))
        return torch.where(take, corrected, new)

    def _remember(self, env: Tensor, index: Tensor, old: Tensor, residual: Tensor, inside: Tensor) -> None:
        """Shifts the history of these environments by one round and puts the present in front."""
        active = env[:, 0]
        for history in (self._states, self._residuals, self._known):
            history[1:, active] = history[:-1, active].clone()
        self._known[0, active] = False
        row, column = env.expand_as(index)[inside], index[inside]
        self._states[0, row, column] = old[inside]
        self._residuals[0, row, column] = residual[inside]
        self._known[0, row, column] = True

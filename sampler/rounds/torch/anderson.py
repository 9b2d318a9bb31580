"""Triangular Anderson acceleration: a quasi-Newton step that respects the order of the trajectory."""

import torch
from torch import Tensor

from paradp.sampler.rounds.windows import PerStep, Window

# λ, relative to the largest diagonal element. Keeps the small systems solvable.
REGULARISATION = 1e-6


class Anderson:
    """Improves the states of a window with the history of the last m rounds (Tang et al., ParaTAA, arXiv 2402.09970, §4).

    With ΔX and ΔR the last m differences of states and of residuals R = G(X) − X, and sums over rows no later than j:

        γ_j = (Σ ΔRᵀΔR + λI)⁻¹ Σ ΔRᵀR,        x_j ← x_j + R_j − (ΔX_j + ΔR_j) γ_j

    A row without history contributes nothing. A row whose result is not finite keeps the plain update.

    Args:
        memory: m.
        batch, steps, size: B environments, T steps and D elements of a sample.
        like: a tensor with the samples' type and device.
    """

    def __init__(self, memory: int, batch: int, steps: int, size: int, like: Tensor):
        # For every state, the last m + 1 rounds, latest first: the state, its residual, and whether they are known.
        self._states, self._residuals, self._known = (
            [PerStep(batch, steps + 1, n, like=like) for _ in range(memory + 1)] for n in (size, size, 1)
        )

    def clear(self) -> None:
        """Clears the history of the last solve."""
        for known in self._known:
            known.all.zero_()

    def step(self, window: Window, old: Tensor, new: Tensor, moved: Tensor) -> Tensor:
        """The accelerated states `[B, p, D]`.

        Args:
            window: the steps that lead to these states.
            old, new: `[B, p, D]`, the states and their plain update.
            moved: `[B]`, the number of states that the window moves past. They have converged, and keep the plain update.
        """
        residual = new - old
        self._remember(window, old, residual)
        states, residuals, known = (
            torch.stack([round_[window.step + 1] for round_ in history])
            for history in (self._states, self._residuals, self._known)
        )
        pair = known[:-1] * known[1:] * window.inside[..., None]
        d_states, d_residuals = ((h[:-1] - h[1:]) * pair for h in (states, residuals))
        gram = torch.einsum("mbjd,nbjd->bjmn", d_residuals, d_residuals).cumsum(1)
        right = torch.einsum("mbjd,bjd->bjm", d_residuals, residual * window.inside[..., None]).cumsum(1)
        size = gram.diagonal(dim1=-2, dim2=-1).amax(-1).clamp(min=torch.finfo(old.dtype).tiny)
        eye = torch.eye(len(d_residuals), dtype=old.dtype, device=old.device)
        gamma = torch.linalg.solve_ex(gram / size[..., None, None] + REGULARISATION * eye, right / size[..., None])[0]
        corrected = new - torch.einsum("mbjd,bjm->bjd", d_states + d_residuals, gamma)
        take = corrected.isfinite().all(2) & (torch.arange(old.shape[1], device=old.device) >= moved[:, None])
        return torch.where(take[..., None], corrected, new)

    def _remember(self, window: Window, old: Tensor, residual: Tensor) -> None:
        """Shifts the history by one round, and stores the present round first."""
        for history in (self._states, self._residuals, self._known):
            for later, earlier in zip(history[:0:-1], history[-2::-1], strict=True):
                later.all.copy_(earlier.all)
        self._known[0].all.zero_()
        for history, values in (
            (self._states, old),
            (self._residuals, residual),
            (self._known, torch.ones_like(old[..., :1])),
        ):
            history[0].put(window, values, after=1)

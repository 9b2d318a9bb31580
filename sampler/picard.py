"""ParaDiGMS: Picard iteration over a sliding window of steps, one window for each environment."""

from dataclasses import dataclass

import torch
from torch import Tensor

from paradp.sampler.noise import NoisePath
from paradp.sampler.solution import Denoiser, Solution, SolverStats, final_status, predict
from paradp.sampler.table import StepTable, rows


@dataclass(frozen=True)
class Picard:
    """Fills the trajectory of a table in parallel (Shih et al., "Parallel Sampling of Diffusion Models", Algorithm 1).

    A round evaluates the network at all states x_b … x_{b+p−1} of a window in one call and replaces

        x_{j+1} ← x_b + Σ_{k=b..j} [ (a_k − 1) x_k + c_k x̂0_k + σ_k ξ_k ]

    then moves the window past every leading state that hardly changed, ‖Δx_j‖² / D ≤ τ² s_j², and past the one after: it was
    computed from unchanged states. So a window moves by at least one a round, and T rounds suffice.

    Unlike the original, which waits for the slowest of a batch, every environment has its own window; the network sees the
    rows of all windows as one flat batch, and an environment that has arrived at x_T leaves it.

    Attributes:
        table: the steps.
        window: p, how many steps are evaluated at once.
        tolerance: τ, in standard deviations of each step's noise; at 0 the result is that of `Sequential`.
    """

    table: StepTable
    window: int = 20
    tolerance: float = 0.1

    def __post_init__(self) -> None:
        if self.window < 1:
            raise ValueError(f"window must be at least 1, not {self.window}")
        if not self.tolerance >= 0:
            raise ValueError(f"tolerance must be at least 0, not {self.tolerance}")

    @torch.no_grad()
    def solve(self, denoiser: Denoiser, condition: Tensor, noise: NoisePath) -> Solution:
        """Samples `[B, …]` for conditions `[B, C]` on a noise path."""
        windows = _Windows(self.table.to(noise.initial.device, noise.initial.dtype), noise, self.window)
        while len(active := windows.unfinished()):
            windows.advance(active, denoiser, condition, self.tolerance)
        sample = windows.states[:, -1]
        return Solution(sample, SolverStats(windows.rounds, windows.evaluations, windows.residual, final_status(sample)))


class _Windows:
    """The trajectories x_0 … x_T of all environments, and where the window of each one is."""

    def __init__(self, table: StepTable, noise: NoisePath, width: int):
        batch, device = len(noise.initial), noise.initial.device
        self.table = table
        self.noise = noise
        self.offsets = torch.arange(min(width, table.steps), device=device)
        self.states = noise.initial.new_empty(batch, table.steps + 1, *noise.initial.shape[1:])
        self.states[:, 0] = noise.initial
        self.base = torch.zeros(batch, dtype=torch.int64, device=device)
        # States beyond the furthest one computed so far are guessed to equal it.
        self.furthest = torch.zeros_like(self.base)
        self.rounds = torch.zeros_like(self.base)
        self.evaluations = torch.zeros_like(self.base)
        self.residual = noise.initial.new_zeros(batch)

    def unfinished(self) -> Tensor:
        """The environments whose window has not reached x_T."""
        return (self.base < self.table.steps).nonzero().squeeze(1)

    def advance(self, active: Tensor, denoiser: Denoiser, condition: Tensor, tolerance: float) -> None:
        """One round: one network call for the windows of the active environments."""
        env = active[:, None]
        step = self.base[env] + self.offsets
        inside = step < self.table.steps
        step = step.clamp(max=self.table.steps - 1)
        x = self._read(env, step)
        drift = torch.zeros_like(x)
        drift[inside] = self._drift(x[inside], step[inside], env.expand_as(step)[inside], denoiser, condition)

        new = x[:, :1] + drift.cumsum(1)
        change = (new - self._read(env, step + 1)).square().flatten(2).mean(2).sqrt() / self.table.scale[step + 1]
        leading = ((change <= tolerance) & inside).long().cumprod(1)
        width = inside.sum(1)

        self.states[env.expand_as(step)[inside], step[inside] + 1] = new[inside]
        self.furthest[active] = self.base[active] + width
        self.base[active] += torch.minimum(leading.sum(1) + 1, width)
        self.rounds[active] += 1
        self.evaluations[active] += width
        self.residual[active] = torch.maximum(self.residual[active], torch.where(leading == 1, change, 0).amax(1))

    def _read(self, env: Tensor, step: Tensor) -> Tensor:
        return self.states[env, torch.minimum(step, self.furthest[env])]

    def _drift(self, x: Tensor, step: Tensor, env: Tensor, denoiser: Denoiser, condition: Tensor) -> Tensor:
        """(a − 1) x + c x̂0 + σ ξ of flat rows."""
        table = self.table
        clean = table.clean(x, predict(denoiser, x, table.timesteps[step], condition[env]), step)
        noise = self.noise.steps[env, step]
        return rows(table.a[step] - 1, x) * x + rows(table.c[step], x) * clean + rows(table.sigma[step], x) * noise

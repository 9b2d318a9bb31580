"""Picard iteration over a sliding window of steps, one window for each environment: ParaDiGMS and what goes beyond it."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from paradp.sampler.anderson import Anderson
from paradp.sampler.noise import NoisePath
from paradp.sampler.solution import Denoiser, Solution, SolverStats, Status, check_inputs, outcome
from paradp.sampler.table import StepTable, rows
from paradp.sampler.trajectory import Trajectory, Window

Split = Literal["unit", "linear"]
Extension = Literal["copy", "roll"]


@dataclass(frozen=True)
class Picard:
    """Fills the trajectory of a table in parallel (Shih et al., "Parallel Sampling of Diffusion Models", Algorithm 1).

    A round evaluates the network at all states x_b … x_{b+p−1} of a window in one call and replaces the states after them.
    With the paper's `unit` split, and y_k all of x_{k+1} but a_k x_k (`StepTable.push`),

        x_{j+1} ← x_b + Σ_{k=b..j} [ (a_k − 1) x_k + y_k ]

    and with the `linear` split, which keeps the known linear part of a step exact and iterates on the predictions alone,

        x_{j+1} ← a_j x_j + y_j,    one after another from x_b.

    Then the window moves past every leading state that hardly changed, ‖Δx_j‖² / D ≤ τ² s_j², and past the one after: it was
    computed from unchanged states. So a window moves by at least one a round, and T rounds suffice. Both splits have the
    sequential trajectory as their fixed point; the same τ does not mean the same error in both.

    Unlike the original, which waits for the slowest of a batch, every environment has its own window; the network sees the
    rows of all windows as one flat batch, and an environment that has arrived at x_T leaves it.

    Attributes:
        table: the steps.
        window: p, how many steps are evaluated at once.
        tolerance: τ, in standard deviations of each step's noise; at 0 the result is that of `Sequential`.
        split: `unit` or `linear`.
        extension: what a state that enters the window is guessed to be: the last state (`copy`, the paper's), or that state
            carried on by the known noise and the last prediction (`roll`). The split's own unless given.
        anderson: m, how many former rounds a triangular Anderson step looks back at (Tang et al., ParaTAA); 0 for none.
        max_rounds: a budget; a sample that is not there by then is completed from its last converged state, with the
            prediction there held, and is marked `Status.OUT_OF_ROUNDS`.
    """

    table: StepTable
    window: int = 20
    tolerance: float = 0.1
    split: Split = "unit"
    extension: Extension | None = None
    anderson: int = 0
    max_rounds: int | None = None

    def __post_init__(self) -> None:
        if not math.isfinite(self.tolerance):
            raise ValueError(f"tolerance must be a finite number, not {self.tolerance}")
        for name, least in (("window", 1), ("tolerance", 0), ("anderson", 0)):
            if not getattr(self, name) >= least:
                raise ValueError(f"{name} must be at least {least}, not {getattr(self, name)}")
        if self.max_rounds is not None and self.max_rounds < 1:
            raise ValueError(f"max_rounds must be at least 1, not {self.max_rounds}")
        for name, choices in (("split", get_args(Split)), ("extension", (None, *get_args(Extension)))):
            if getattr(self, name) not in choices:
                known = ", ".join(choice for choice in choices if choice)
                raise ValueError(f"{name} must be one of {known}, not {getattr(self, name)!r}")

    @torch.no_grad()
    def solve(self, denoiser: Denoiser, condition: Tensor, noise: NoisePath, guess: Tensor | None = None) -> Solution:
        """Samples `[B, …]` for conditions `[B, C]` on a noise path.

        A guess is not used: within a loose tolerance a state that starts near it passes for converged, at the wrong mode.
        """
        check_inputs(self.table, condition, noise)
        windows = _Windows(self, noise)
        for _ in self._rounds(windows, denoiser, condition):
            pass
        return windows.solution()

    @torch.no_grad()
    def iterates(self, denoiser: Denoiser, condition: Tensor, noise: NoisePath) -> Iterator[Tensor]:
        """The states `[B, T+1, …]` after every round of a solve, to look at how they converge."""
        windows = _Windows(self, noise)
        for _ in self._rounds(windows, denoiser, condition):
            yield windows.guessed_states()

    def _rounds(self, windows: "_Windows", denoiser: Denoiser, condition: Tensor) -> Iterator[None]:
        """Advances the windows until all have arrived or the budget is spent."""
        for _ in range(self.max_rounds or self.table.steps):
            if not len(active := windows.unfinished()):
                return
            windows.advance(active, denoiser, condition)
            yield


class _Windows:
    """The windows of all environments on their trajectories."""

    def __init__(self, solver: Picard, noise: NoisePath):
        batch, device = len(noise.initial), noise.initial.device
        self.solver = solver
        self.table = solver.table.to(device, noise.initial.dtype)
        self.trajectory = Trajectory(self.table, noise)
        self.rolls = (solver.extension or ("roll" if solver.split == "linear" else "copy")) == "roll"
        self.accelerator = Anderson(solver.anderson, self.trajectory.states) if solver.anderson else None
        self.base = torch.zeros(batch, dtype=torch.int64, device=device)
        # States beyond the furthest one computed so far are guessed to equal it.
        self.furthest = torch.zeros_like(self.base)
        self.rounds = torch.zeros_like(self.base)
        self.evaluations = torch.zeros_like(self.base)
        self.residual = noise.initial.new_zeros(batch)
        if self.rolls:
            # Nothing is predicted yet: the first window is rolled forward by the noise alone.
            self._roll_into_window(torch.arange(batch, device=device))

    def unfinished(self) -> Tensor:
        """The environments whose window has not reached x_T."""
        return (self.base < self.table.steps).nonzero().squeeze(1)

    def advance(self, active: Tensor, denoiser: Denoiser, condition: Tensor) -> None:
        """One round: one network call for the windows of the active environments."""
        window = Window.of(active, self.base[active], self.solver.window, self.table.steps)
        x = self._read(window.env, window.step)
        self.trajectory.evaluate(window, x, denoiser, condition)
        new, old = self._iterate(x, window), self._read(window.env, window.step + 1)

        change = (new - old).square().flatten(2).mean(2).sqrt() / self.table.scale[window.step + 1]
        leading = ((change <= self.solver.tolerance) & window.inside).long().cumprod(1)
        moved = torch.minimum(leading.sum(1) + 1, window.width)
        if self.accelerator is not None:
            new = self.accelerator.step(window, old, new, moved)

        env, step = window.flat
        self.trajectory.states[env, step + 1] = new[window.inside]
        self.furthest[active] = self.base[active] + window.width
        self.base[active] += moved
        self.rounds[active] += 1
        self.evaluations[active] += window.width
        self.residual[active] = torch.maximum(self.residual[active], torch.where(leading == 1, change, 0).amax(1))
        if self.rolls:
            self._roll_into_window(active)

    def solution(self) -> Solution:
        """The samples; those that were not reached are completed by the last prediction at a converged state.

        Later predictions were made at states that had not converged: with the unit split those overshoot, worst just before
        they settle, and a sample completed by them would get worse with a larger budget.
        """
        self.trajectory.evaluated = torch.minimum(self.trajectory.evaluated, self.base)
        for env in self.unfinished():
            rest = Window.of(env[None], self.base[env][None], self.table.steps - int(self.base[env]), self.table.steps)
            self.trajectory.states[env, -1] = self.trajectory.roll(rest)[0, -1]
        sample = self.trajectory.states[:, -1]
        passed = torch.arange(self.table.steps, device=self.base.device) < self.base[:, None]
        status, broken = outcome(sample, torch.where(rows(passed, self.trajectory.clean), self.trajectory.clean, 0))
        out = (self.base < self.table.steps) & (status == Status.CONVERGED)
        status = torch.where(out, int(Status.OUT_OF_ROUNDS), status)
        return Solution(
            sample,
            SolverStats(self.rounds, self.evaluations, self.residual, status, broken),
        )

    def guessed_states(self) -> Tensor:
        """A copy of all states; those beyond the furthest one computed equal it."""
        env, step = torch.arange(len(self.base), device=self.base.device)[:, None], torch.arange(self.table.steps + 1)
        return self._read(env, step.to(env.device).expand(len(env), -1)).clone()

    def _read(self, env: Tensor, step: Tensor) -> Tensor:
        return self.trajectory.states[env, torch.minimum(step, self.furthest[env])]

    def _iterate(self, x: Tensor, window: Window) -> Tensor:
        """x_{b+1} … x_{b+p} from the predictions at x_b … x_{b+p−1}."""
        if self.solver.split == "linear":
            return self.trajectory.roll(window)
        drift = self.trajectory.push(window) + rows(self.table.a[window.step] - 1, x) * x
        return x[:, :1] + torch.where(rows(window.inside, x), drift, 0).cumsum(1)

    def _roll_into_window(self, active: Tensor) -> None:
        """Carries the furthest state on to the end of the next window by the known noise and the last prediction."""
        window = Window.of(active, self.furthest[active], self.solver.window, self.table.steps)
        states = self.trajectory.roll(window)
        wanted = window.inside & (window.step < self.base[window.env] + self.solver.window)
        self.trajectory.states[window.env.expand_as(wanted)[wanted], window.step[wanted] + 1] = states[wanted]
        self.furthest[active] += wanted.sum(1)

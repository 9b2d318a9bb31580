"""Bounds on the convergence of Picard iteration, from Lipschitz constants of a network along an exact trajectory."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from paradp.sampler import Denoiser, NoisePath, Picard, StepTable, iterates_of
from paradp.sampler.table import Steps

# Rows of a call. More rows need more memory, and are not faster on a CPU.
_ROWS = 128


@dataclass(frozen=True)
class Trajectory:
    """The exact states and predictions of B environments on a noise path.

    Attributes:
        states: `[B, T+1, D]`.
        clean: `[B, T, D]`, x̂0, not clipped.
    """

    states: Tensor
    clean: Tensor


@dataclass(frozen=True)
class Constants:
    """Operator norms of the Jacobians at the exact states of one environment, `[T]` each.

    Attributes:
        clean: norm for clip(x̂0).
        pushed: norm for x_{k+1} − a_k x_k, as a function of x_k, on which the linear split iterates.
        drift: norm for x_{k+1} − x_k, on which the unit split iterates.
    """

    clean: np.ndarray
    pushed: np.ndarray
    drift: np.ndarray


class NetworkOnTable:
    """A network at the steps of a table, as functions of flat states.

    Args:
        table: the steps.
        denoiser, condition: as for a solver; the denoiser must be differentiable.
        shape: shape of a sample.
    """

    def __init__(self, table: StepTable, denoiser: Denoiser, condition: Tensor, shape: tuple[int, ...]):
        self.table = table.to(condition.device, torch.float32)
        self._denoiser, self._condition, self._shape = denoiser, condition, shape

    def clean(self, x: Tensor, step: Tensor, environment: Tensor) -> Tensor:
        """x̂0, not clipped, at states `[n, D]` with steps and environments `[n]`."""
        prediction = self._denoiser(x.reshape(-1, *self._shape), self.table.timesteps[step], self._condition[environment])
        return self.table.at(step).clean(x, prediction.flatten(1))

    def trajectory(self, noise: NoisePath) -> Trajectory:
        """The exact trajectory, by `Picard` with a window of one step, which is sequential sampling."""
        solver = Picard(self.table, window=1, tolerance=0.0)
        *_, states = iterates_of(solver, self._denoiser, self._condition, noise)
        flat = states.flatten(2)
        environment, step = self._every(len(flat))
        rows = zip(flat[:, :-1].flatten(0, 1).split(_ROWS), step.split(_ROWS), environment.split(_ROWS), strict=True)
        with torch.no_grad():
            clean = torch.cat([self.clean(*row) for row in rows])
        return Trajectory(flat, clean.unflatten(0, (len(flat), -1)))

    def constants(self, trajectory: Trajectory, iterations: int) -> list[Constants]:
        """The constants of each environment, by power iteration."""
        batch = len(trajectory.states)
        environment, step = self._every(batch)
        found = []
        for of in (_bounded, _pushed, _drift):
            norms = [
                operator_norms(partial(self._at, of, s, e), x, iterations)
                for x, s, e in zip(
                    trajectory.states[:, :-1].flatten(0, 1).split(_ROWS),
                    step.split(_ROWS),
                    environment.split(_ROWS),
                    strict=True,
                )
            ]
            found.append(torch.cat(norms).reshape(batch, -1).double().numpy())
        return [Constants(*each) for each in zip(*found, strict=True)]

    def _at(self, of: Callable[[Steps, Tensor, Tensor], Tensor], step: Tensor, environment: Tensor, x: Tensor) -> Tensor:
        return of(self.table.at(step), x, self.clean(x, step, environment))

    def linearised(self, trajectory: Trajectory) -> tuple[Denoiser, Tensor]:
        """The denoiser linearised at the exact states, and the conditions for it."""
        order = torch.zeros(int(self.table.timesteps.max()) + 1, dtype=torch.int64)
        order[self.table.timesteps] = torch.arange(self.table.steps)

        def denoise(x: Tensor, t: Tensor, condition: Tensor) -> Tensor:
            environment = condition[:, 0].long()
            exact = trajectory.states[environment, order[t]].reshape(x.shape)

            def network(at: Tensor) -> Tensor:
                return self._denoiser(at, t, self._condition[environment])

            tangent = torch.func.jvp(network, (exact,), (x - exact,))
            return tangent[0] + tangent[1]

        return denoise, torch.arange(len(trajectory.states))[:, None].float()

    def _every(self, batch: int) -> tuple[Tensor, Tensor]:
        """Environment and step of every exact state except the last, `[B · T]` each."""
        steps = torch.arange(self.table.steps)
        return torch.arange(batch).repeat_interleave(len(steps)), steps.repeat(batch)


def _bounded(step: Steps, x: Tensor, clean: Tensor) -> Tensor:
    return step.table.bound(clean)


def _pushed(step: Steps, x: Tensor, clean: Tensor) -> Tensor:
    return step.push(clean, None, torch.zeros_like(x))


def _drift(step: Steps, x: Tensor, clean: Tensor) -> Tensor:
    return _pushed(step, x, clean) + (step.a - 1) * x


def operator_norms(function: Callable[[Tensor], Tensor], x: Tensor, iterations: int) -> Tensor:
    """The largest singular value of every row's Jacobian, `[n]`, by power iteration on JᵀJ, which converges from below.

    Args:
        function: from rows `[n, D]` to rows; the rows must be independent.
        x: `[n, D]`, where to take the Jacobian.
        iterations: number of power iterations.
    """
    generator = torch.Generator().manual_seed(0)
    direction = torch.randn(x.shape, generator=generator, dtype=x.dtype)
    pull = torch.func.vjp(function, x)[1]
    norms = torch.zeros(len(x), dtype=x.dtype)
    tiny = torch.finfo(x.dtype).tiny
    for _ in range(iterations):
        direction = direction / direction.norm(dim=1, keepdim=True).clamp(min=tiny)
        image = torch.func.jvp(function, (x,), (direction,))[1]
        norms = image.norm(dim=1)
        (direction,) = pull(image)
    return norms.detach()


def window_matrix(table: StepTable, constants: Constants, first: int, width: int, split: str) -> np.ndarray:
    """The matrix M `[p+1, p+1]` of e' ≤ M e, which bounds the errors of x_b … x_{b+p} after a round by those before it.

    Entry (j, i) bounds the share of the error of x_{b+i} that can reach x_{b+j} in a round; x_b is exact.
    """
    a, d = table.a.double().numpy(), np.abs(table.d.double().numpy())
    own = constants.pushed if split == "linear" else constants.drift
    last = min(first + width, table.steps)
    matrix = np.zeros((last - first + 1, last - first + 1))
    for j, k in enumerate(range(first, last)):
        # The change of x_{k+1} depends on x_k, and on x_{k−1} if the table looks back.
        matrix[j + 1] = (a[k] if split == "linear" else 1.0) * matrix[j]
        matrix[j + 1, j] += own[k]
        if k > first:
            matrix[j + 1, j - 1] += d[k] * constants.clean[k - 1]
    return matrix


def contraction(table: StepTable, constants: Constants, first: int, width: int, split: str) -> float:
    """A bound on the factor by which a round changes the largest error of a window, in units of each state's noise."""
    matrix = window_matrix(table, constants, first, width, split)[1:, 1:]
    scale = table.scale.double().numpy()[first + 1 : first + 1 + len(matrix)]
    return float((matrix * scale / scale[:, None]).sum(1).max())


def bound_on_rounds(table: StepTable, constants: Constants, trajectory: Trajectory, solver: Picard, environment: int) -> int:
    """An upper bound on `Picard`'s rounds, if no Jacobian along its iterates is larger than on the exact trajectory.

    Propagates a bound on every state's error through the rounds of the solver. A change is at most the sum of the errors
    before and after. States behind the window count as exact, as in the solver.
    """
    bounds = _Bounds(table, constants, trajectory, solver, environment)
    rounds = 0
    while bounds.base < table.steps:
        bounds.advance()
        rounds += 1
    return rounds


class _Bounds:
    """Upper bounds on the errors of one environment's states."""

    def __init__(self, table: StepTable, constants: Constants, trajectory: Trajectory, solver: Picard, environment: int):
        self.base = 0
        self._table, self._constants, self._solver = table, constants, solver
        self._states = trajectory.states[environment].double().numpy()
        self._clean = trajectory.clean[environment].double().numpy()
        self._rolls = (solver.extension or ("roll" if solver.split == "linear" else "copy")) == "roll"
        self._errors = np.zeros(table.steps + 1)
        self._enter(0, min(solver.window, table.steps))

    def advance(self) -> None:
        """Propagates the bounds through one round."""
        first, last = self.base, min(self.base + self._solver.window, self._table.steps)
        matrix = window_matrix(self._table, self._constants, first, self._solver.window, self._solver.split)
        old = self._errors[first : last + 1]
        new = matrix @ old
        scale = self._table.scale.double().numpy()[first + 1 : last + 1]
        settled = (old + new)[1:] <= self._solver.tolerance * scale * self._states.shape[1] ** 0.5
        moved = min(int(settled.cumprod().sum()) + 1, last - first)
        self._errors[first : last + 1] = new
        self.base += moved
        self._errors[: self.base + 1] = 0
        self._enter(last, min(self.base + self._solver.window, self._table.steps))

    def _enter(self, last: int, end: int) -> None:
        """Adds states beyond x_last to the window: copies of x_last, or states rolled forward with the last prediction."""
        a, c, r, d = (getattr(self._table, name).double().numpy() for name in "acrd")
        for k in range(last, end):
            if not self._rolls:
                self._errors[k + 1] = self._errors[last] + np.linalg.norm(self._states[k + 1] - self._states[last])
                continue
            held = self._clean[last - 1] if last else np.zeros_like(self._clean[0])
            wrong = self._constants.clean[last - 1] * self._errors[last - 1] if last else 0.0
            apart = [np.linalg.norm(self._bound(held) - self._bound(self._clean[i])) + wrong for i in (k, max(k - 1, 0))]
            unclipped = np.linalg.norm(held - self._clean[k]) + wrong if r[k] else 0.0
            pushed = abs(c[k]) * apart[0] + abs(r[k]) * unclipped + abs(d[k]) * apart[1]
            self._errors[k + 1] = a[k] * self._errors[k] + pushed

    def _bound(self, clean: np.ndarray) -> np.ndarray:
        return clean if self._table.clip is None else clean.clip(-self._table.clip, self._table.clip)

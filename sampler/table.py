"""Step tables: the coefficients of every sampling step, one row per step."""

import math
from dataclasses import dataclass, fields, replace
from enum import IntEnum
from functools import cached_property

import torch
from torch import Tensor


class Column(IntEnum):
    """The coefficients of a step, in the order of `StepTable.columns` and `Steps`.

    numba keeps the compiled loops of `paradp.sampler.rounds.numba.loops` until that file changes: touch it after a change
    here.
    """

    A = 0
    C = 1
    R = 2
    D = 3
    SIGMA = 4
    FROM_STATE = 5
    FROM_PREDICTION = 6


@dataclass(frozen=True, eq=False)  # tensors have no single truth value
class StepTable:
    """Steps k = 0 … T−1 from pure noise x_0 to the sample x_T, each of the form

        x_{k+1} = a_k x_k + c_k clip(x̂0_k) + r_k x̂0_k + d_k clip(x̂0_{k−1}) + σ_k ξ_k,     x̂0_k = u_k x_k + v_k prediction

    where x̂0_k is the clean sample that the network predicts at (x_k, t_k). `paradp.sampler.schedules` builds the tables of
    DDPM (r = d = 0), DDIM (r ≠ 0 if the noise direction is not clipped), DPM-Solver++ (d ≠ 0 at second-order steps),
    multistep consistency sampling (a = 0 except at timestep 0), and Euler's method along a flow (σ = 0).

    Attributes:
        timesteps: `[T]`, the network's input at each step: int64, or floating point if some are not integers, as in a
            shifted flow.
        alpha_bar: `[T]`, ᾱ at each timestep; for a flow, the ᾱ with the same signal-to-noise ratio.
        a, c, r, d, sigma: `[T]`, the step's coefficients.
        from_state, from_prediction: `[T]`, u and v: epsilon, sample and v prediction all reduce to x̂0.
        scale: `[T+1]`, the unit for changes of x_j: DDPM's posterior standard deviation of the step from x_j, also for
            solvers without noise; where it is zero, the smallest positive one.
        clip: bound of |x̂0|, or `None`.
    """

    timesteps: Tensor
    alpha_bar: Tensor
    a: Tensor
    c: Tensor
    r: Tensor
    d: Tensor
    sigma: Tensor
    from_state: Tensor
    from_prediction: Tensor
    scale: Tensor
    clip: float | None

    @property
    def steps(self) -> int:
        """The number of steps, T."""
        return len(self.timesteps)

    def to(self, device: torch.device, dtype: torch.dtype) -> "StepTable":
        """The table on another device and in another type; cached."""
        if (device, dtype) not in self._copies:
            moved = {field.name: getattr(self, field.name) for field in fields(self)}
            floats = {name: value.to(device, dtype) for name, value in moved.items() if name not in ("timesteps", "clip")}
            self._copies[device, dtype] = replace(self, timesteps=self._timesteps(device, dtype), **floats)
        return self._copies[device, dtype]

    def _timesteps(self, device: torch.device, dtype: torch.dtype) -> Tensor:
        """The timesteps for samples of this type. Non-integers stay at least in float32: half precision rounds them."""
        if not self.timesteps.is_floating_point():
            return self.timesteps.to(device)
        return self.timesteps.to(device, torch.promote_types(dtype, torch.float32))

    def bound(self, clean: Tensor) -> Tensor:
        """Clips x̂0, if the table has a bound."""
        return clean if self.clip is None else clean.clamp(-self.clip, self.clip)

    def at(self, step: Tensor) -> "Steps":
        """The coefficients of steps `[…]`, for flat samples `[…, D]`."""
        return Steps(self, *self.columns[step].unsqueeze(-1).unbind(-2))

    @cached_property
    def _copies(self) -> "dict[tuple[torch.device, torch.dtype], StepTable]":
        return {}

    @cached_property
    def columns(self) -> Tensor:
        """`[T, 7]`, in the order of `Column`."""
        return torch.stack([getattr(self, column.name.lower()) for column in Column], dim=1)

    @cached_property
    def clip_bound(self) -> Tensor:
        """`[]`, the bound of |x̂0|; infinite without clipping."""
        return self.columns.new_tensor(math.inf if self.clip is None else self.clip)

    @cached_property
    def looks_back(self) -> bool:
        """Whether a step uses the prediction of the step before."""
        return bool((self.d != 0).any())

    @cached_property
    def keeps_unclipped(self) -> bool:
        """Whether a step uses the prediction as it was before clipping."""
        return bool((self.r != 0).any())


@dataclass(frozen=True, eq=False)  # tensors have no single truth value
class Steps:
    """Some steps of a table, gathered once for all computations of a round.

    Attributes:
        table: the table of these steps.
        a, c, r, d, sigma, from_state, from_prediction: as in the table, `[…, 1]`, to go with flat samples `[…, D]`.
    """

    table: StepTable
    a: Tensor
    c: Tensor
    r: Tensor
    d: Tensor
    sigma: Tensor
    from_state: Tensor
    from_prediction: Tensor

    def clean(self, x: Tensor, prediction: Tensor) -> Tensor:
        """x̂0 before clipping, for states x `[…, D]` and the network's predictions there."""
        return self.from_state * x + self.from_prediction * prediction

    def push(self, clean: Tensor, before: Tensor | None, noise: Tensor) -> Tensor:
        """x_{k+1} without the term a_k x_k.

        Args:
            clean, before: `[…, D]`, x̂0_k and x̂0_{k−1} before clipping; the latter only if the table `looks_back`.
            noise: `[…, D]`, ξ_k.
        """
        return self._add_rest(self.c * self.table.bound(clean) + self.sigma * noise, clean, before)

    def mean(self, x: Tensor, clean: Tensor, before: Tensor | None) -> Tensor:
        """m_k, which is x_{k+1} without noise; arguments as in `push`."""
        return self._add_rest(self.a * x + self.c * self.table.bound(clean), clean, before)

    def difference(self, one: Tensor, other: Tensor, one_before: Tensor | None, other_before: Tensor | None) -> Tensor:
        """The difference of m_k between two predictions at the same state; exactly 0 if they are equal."""
        bound = self.table.bound
        apart = self.c * (bound(one) - bound(other))
        if self.table.keeps_unclipped:
            apart = apart + self.r * (one - other)
        if one_before is not None and other_before is not None:
            apart = apart + self.d * (bound(one_before) - bound(other_before))
        return apart

    def _add_rest(self, total: Tensor, clean: Tensor, before: Tensor | None) -> Tensor:
        """Adds the optional terms r_k x̂0_k and d_k clip(x̂0_{k−1})."""
        if self.table.keeps_unclipped:
            total = total + self.r * clean
        if before is not None:
            total = total + self.d * self.table.bound(before)
        return total


def roll(x: Tensor, a: Tensor, pushed: Tensor) -> Tensor:
    """The states `[B, p, D]` after each of p steps from x `[B, D]`, with all else that the steps add, `[B, p, D]`.

    The arithmetic is the same as in the sequential solver, step by step. Once the predictions no longer change, the states
    therefore equal its states bit for bit.
    """
    states = []
    for a_k, pushed_k in zip(a.unbind(1), pushed.unbind(1), strict=True):
        x = a_k * x + pushed_k
        states.append(x)
    return torch.stack(states, dim=1)

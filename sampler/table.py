"""One row a step: every solver's way from noise to sample is a table of coefficients."""

from dataclasses import dataclass, fields, replace
from functools import cached_property

import torch
from torch import Tensor


@dataclass(frozen=True)
class StepTable:
    """Steps k = 0 … T−1 from pure noise x_0 to the sample x_T, each of the form

        x_{k+1} = a_k x_k + c_k clip(x̂0_k) + r_k x̂0_k + d_k clip(x̂0_{k−1}) + σ_k ξ_k,     x̂0_k = u_k x_k + v_k prediction

    where x̂0_k is the clean sample that the network predicts at (x_k, t_k). `paradp.sampler.schedules` builds the tables of
    DDPM (r = d = 0), DDIM (r ≠ 0 where the noise direction is kept unclipped) and DPM-Solver++ (d ≠ 0 where it is of second
    order).

    Attributes:
        timesteps: `[T]` int64, what the network is told at each step.
        alpha_bar: `[T]`, ᾱ at each timestep.
        a, c, r, d, sigma: `[T]`, the step's coefficients.
        from_state, from_prediction: `[T]`, u and v: epsilon, sample and v prediction all reduce to x̂0.
        scale: `[T+1]`, the size that a change of x_j is measured against: DDPM's posterior standard deviation of the step
            leaving x_j, also for solvers that add no noise; the smallest positive one where it is zero.
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
        """T."""
        return len(self.timesteps)

    def to(self, device: torch.device, dtype: torch.dtype) -> "StepTable":
        """The same table where the samples live."""
        moved = {field.name: getattr(self, field.name) for field in fields(self)}
        floats = {name: value.to(device, dtype) for name, value in moved.items() if name not in ("timesteps", "clip")}
        return replace(self, timesteps=self.timesteps.to(device), **floats)

    def clean(self, x: Tensor, prediction: Tensor, step: Tensor) -> Tensor:
        """x̂0, not clipped, of rows x `[n, …]`, each at its own step `[n]`, from the network's prediction there."""
        return rows(self.from_state[step], x) * x + rows(self.from_prediction[step], x) * prediction

    def bound(self, clean: Tensor) -> Tensor:
        """clip(x̂0)."""
        return clean if self.clip is None else clean.clamp(-self.clip, self.clip)

    def push(self, clean: Tensor, before: Tensor | None, noise: Tensor, step: Tensor) -> Tensor:
        """All of x_{k+1} but a_k x_k, for rows at their own steps.

        Args:
            clean, before: `[n, …]`, x̂0_k and x̂0_{k−1}, neither clipped; the latter only where the table `looks_back`.
            noise: `[n, …]`, ξ_k.
            step: `[n]`, k.
        """

        def row(coefficients: Tensor) -> Tensor:
            return rows(coefficients[step], clean)

        pushed = row(self.c) * self.bound(clean) + row(self.sigma) * noise
        if self.keeps_unclipped:
            pushed = pushed + row(self.r) * clean
        if before is not None:
            pushed = pushed + row(self.d) * self.bound(before)
        return pushed

    @cached_property
    def looks_back(self) -> bool:
        """Whether a step uses the prediction of the step before."""
        return bool((self.d != 0).any())

    @cached_property
    def keeps_unclipped(self) -> bool:
        """Whether a step uses the prediction as it was before clipping."""
        return bool((self.r != 0).any())


def rows(coefficients: Tensor, like: Tensor) -> Tensor:
    """Coefficients, one for each leading index, shaped to broadcast over the sample's dimensions."""
    return coefficients.reshape(coefficients.shape + (1,) * (like.ndim - coefficients.ndim))

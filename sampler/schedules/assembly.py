"""Functions that the step tables of all processes share."""

import torch
from torch import Tensor

from paradp.sampler.table import StepTable


# Long: every column of a table is named in the signature, in the docstring and in the call, so that none is mistaken.
def assembled(
    timesteps: Tensor,
    bar: Tensor,
    clip: float | None,
    predicts: str,
    from_state: Tensor,
    from_prediction: Tensor,
    *,
    a: Tensor,
    c: Tensor,
    sigma: Tensor,
    r: Tensor | None = None,
    d: Tensor | None = None,
    stretch: Tensor | None = None,
) -> StepTable:
    """Assembles a table from its coefficients, `[T]` each.

    Args:
        timesteps, clip, from_state, from_prediction, a, c, r, d, sigma: as in `StepTable`; r and d are 0 unless given.
        bar: ᾱ.
        predicts: what the network predicts, for errors.
        stretch: `[T+1]`, the ratio of each state to the variance-preserving state; 1 by default.

    Raises:
        ValueError: a coefficient is not finite; the message names the step.
    """
    posterior = posterior_deviation(bar, following(bar, 1.0))
    positive = posterior[posterior > 0]
    smallest = positive.amin() if len(positive) else torch.ones((), dtype=bar.dtype)
    scale = torch.cat([torch.where(posterior > 0, posterior, smallest), smallest[None]])
    table = StepTable(
        timesteps=timesteps,
        alpha_bar=bar,
        a=a,
        c=c,
        r=torch.zeros_like(a) if r is None else r,
        d=torch.zeros_like(a) if d is None else d,
        sigma=sigma,
        from_state=from_state,
        from_prediction=from_prediction,
        scale=scale if stretch is None else scale * stretch,
        clip=clip,
    )
    finite = table.columns.isfinite().all(1)
    if not finite.all():
        step = int((~finite).nonzero()[0])
        where = f"step {step} (timestep {timesteps[step].item():g}, ᾱ = {bar[step]:.1e})"
        raise ValueError(f"{where} has no finite coefficients with {predicts}")
    return table


def following(values: Tensor, last: float) -> Tensor:
    """For each step, the value at the next timestep of the grid; `last` for the last step."""
    return torch.cat([values[1:], values.new_tensor([last])])


def posterior_deviation(bar: Tensor, after: Tensor) -> Tensor:
    """The standard deviation of DDPM's posterior for steps from ᾱ to ᾱ'."""
    return ((1 - bar / after) * (1 - after) / (1 - bar)).sqrt()

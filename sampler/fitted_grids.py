"""Grids that fit a policy: those of DDPM's timesteps that keep most of its distribution.

One step of DDPM from grid index i straight to j is exactly the fine steps i … j−1 one after another, all with the
prediction x̂0_i of the first: q(x_s | x_t, x̂0) marginalises. So the chain rule splits the Kullback-Leibler divergence of
the fine path from the coarse one into a sum over the coarse steps of

    cost[i, j] = Σ_{k=i}^{j−1} w_k E‖clip x̂0_i − clip x̂0_k‖²,     w_k = c_k² / 2σ_k²,

with the expectation over the fine chain's own trajectories. It is additive: dynamic programming finds the grid of N
timesteps that loses least, for every N at once (Watson et al., "Learning to Efficiently Sample from Diffusion Probabilistic
Models", arXiv 2106.03802, who do so with the training loss).
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from paradp.sampler.noise import NoisePath
from paradp.sampler.solution import Denoiser
from paradp.sampler.solvers.sequential import Sequential
from paradp.sampler.table import StepTable


@torch.no_grad()
def record_predictions(table: StepTable, denoiser: Denoiser, condition: Tensor, noise: NoisePath) -> Tensor:
    """The predictions clip x̂0_k, `[T, B, D]`, along sequential trajectories of a table.

    Args:
        table: DDPM's, on all timesteps of the training.
        denoiser, condition, noise: as in `Solver.solve`, for B trajectories.
    """
    here = table.to(noise.initial.device, noise.initial.dtype)
    seen: list[Tensor] = []

    def recording(x: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        prediction = denoiser(x, t, condition)
        step = here.at(torch.tensor(len(seen), device=x.device))
        seen.append(here.bound(step.clean(x.flatten(1), prediction.flatten(1))))
        return prediction

    Sequential(table).solve(recording, condition, noise)
    return torch.stack(seen)


def mean_distances(predictions: Tensor) -> np.ndarray:
    """E‖clip x̂0_i − clip x̂0_k‖² over trajectories, `[T, T]`, of predictions `[T, B, D]`."""
    flat = predictions.double().flatten(1)
    products = (flat @ flat.T / predictions.shape[1]).cpu().numpy()
    squares = np.diag(products)
    return np.maximum(squares[:, None] + squares[None] - 2 * products, 0.0)


def step_weights(table: StepTable) -> np.ndarray:
    """w_k = c_k² / 2σ_k², `[T]`.

    The last step adds no noise, so its weight would be infinite. Instead, its noise is set to that of the step before, the
    smallest in the chain (`StepTable.scale`): smaller differences are below the resolution of the chain.
    """
    deviation = torch.where(table.sigma > 0, table.sigma, table.scale[:-1])
    return (0.5 * (table.c / deviation) ** 2).double().cpu().numpy()


def step_costs(distances: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """cost[i, j] of going from step i straight to j, `[T+1, T+1]`; infinite where j ≤ i.

    Args:
        distances: `[T, T]`, from `mean_distances`.
        weights: `[T]`, from `step_weights`.
    """
    steps = len(weights)
    costs = np.full((steps + 1, steps + 1), np.inf)
    for i in range(steps):
        costs[i, i + 1 :] = np.cumsum(weights[i:] * distances[i, i:])
    return costs


def grid_cost(costs: np.ndarray, grid: Sequence[int]) -> float:
    """The loss of a grid of steps: the sum of the costs between its steps, and from its last step to the end."""
    return float(costs[list(grid), [*grid[1:], len(costs) - 1]].sum())


def best_grids(costs: np.ndarray, most: int) -> list[list[int]]:
    """For N = 1 … `most`: the grid of N steps, beginning with step 0, with the smallest `grid_cost`.

    Raises:
        ValueError: there are fewer steps than `most`.
    """
    steps = len(costs) - 1
    if not 1 <= most <= steps:
        raise ValueError(f"grids of 1 to {steps} of the {steps} steps can be chosen, not of {most}")
    least = np.where(np.arange(steps + 1) == 0, 0.0, np.inf)  # smallest cost to reach each step with the grid steps so far
    origins: list[np.ndarray] = []
    for _ in range(most):
        through = least[:, None] + costs
        origins.append(through.argmin(0))
        least = through.min(0)
    return [_backwards(origins[:count], steps) for count in range(1, most + 1)]


def _backwards(origins: Sequence[np.ndarray], end: int) -> list[int]:
    """The steps of the best path to `end`, from the best predecessor of each step."""
    way: list[int] = []
    for origin in reversed(origins):
        end = int(origin[end])
        way.append(end)
    return way[::-1]

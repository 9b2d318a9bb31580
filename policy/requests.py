"""A plan as it is asked for and as it is made: values that travel between threads, processes and machines."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from paradp.policy.diffusion_policy import DiffusionPolicy


@dataclass(frozen=True)
class PlanRequest:
    """What a plan depends on besides the policy.

    Attributes:
        history: `[To, O]`, the observed steps, oldest first, as `read_observation` returns them.
        noise_seed: of the plan's own noise, from 0 to 2⁶³ − 1.
        guess: `[H, A]`, a first guess at the chunk in normalised units, such as the rest of the last one; it changes what a
            plan costs, and neither its law nor whether there is one.
        budget: seconds for the solver, or none.
    """

    history: np.ndarray
    noise_seed: int
    guess: np.ndarray | None = None
    budget: float | None = None


@dataclass(frozen=True)
class Chunk:
    """A plan for one robot.

    Attributes:
        actions: `[H − To + 1, A]`, from the control step of the last observation on; data units, within the action limits.
        whole: `[H, A]`, as it was sampled, normalised units.
        seconds: of the plan; shared by the `batch` robots that it was made for together.
        rounds, evaluations, residual, converged: the solver's statistics.
    """

    actions: np.ndarray
    whole: np.ndarray
    seconds: float
    batch: int
    rounds: int
    evaluations: int
    residual: float
    converged: bool


def plan_together(policy: DiffusionPolicy, requests: Sequence[PlanRequest]) -> list[Chunk]:
    """Plans for several robots at once, each with noise of its own; the shortest budget is that of all.

    Raises:
        ValueError: the network gave a plan that is not finite.
    """
    horizon, size = policy.spec.horizons.predict, policy.spec.action_size
    guesses = np.stack([np.zeros((horizon, size), np.float32) if r.guess is None else r.guess for r in requests])
    budgets = [request.budget for request in requests if request.budget is not None]
    plan = policy.plan(
        np.stack([request.history for request in requests]),
        [torch.Generator().manual_seed(request.noise_seed) for request in requests],
        torch.from_numpy(guesses).to(policy.device),
        budget=min(budgets, default=None),
    )
    wholes = plan.chunks.cpu().numpy()
    return [
        Chunk(
            plan.actions[row],
            wholes[row],
            plan.seconds,
            len(requests),
            int(plan.stats.rounds[row]),
            int(plan.stats.evaluations[row]),
            float(plan.stats.residual[row]),
            bool(plan.stats.converged[row]),
        )
        for row in range(len(requests))
    ]

"""Plan requests and their results, which are sent between threads, processes and machines."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from paradp.policy.diffusion_policy import DiffusionPolicy, Plan
from paradp.policy.observations import Observation, stack
from paradp.policy.plan_stats import PlanStats
from paradp.sampler.noise import noise_generator


@dataclass(frozen=True)
class PlanRequest:
    """The inputs of a plan.

    Attributes:
        history: the last To observations, oldest first: `[To, *shape]` for each feature, as `read_observation` returns them.
        noise_seed: seed of the plan's noise, from 0 to 2⁶³ − 1, see `noise_generator`.
        guess: `[H, A]`, a first guess at the chunk in normalised units, such as the rest of the last one. It changes the
            cost of a plan, but not its distribution.
        budget: time limit of the solver in seconds; `None` for no limit.
        keep: `[H]` from 0 to 1, weight of the guess at each step, see `Inpainting`; `None` for 0.
    """

    history: Observation
    noise_seed: int
    guess: np.ndarray | None = None
    budget: float | None = None
    keep: np.ndarray | None = None


@dataclass(frozen=True)
class Chunk:
    """A plan for one robot.

    Attributes:
        actions: `[H − To + 1, A]`, from the control step of the last observation on; data units, within the action limits.
        whole: `[H, A]`, the chunk as sampled, in normalised units.
        stats: cost of the plan.
    """

    actions: np.ndarray
    whole: np.ndarray
    stats: PlanStats


def plan_together(policy: DiffusionPolicy, requests: Sequence[PlanRequest]) -> list[Chunk]:
    """Makes plans for several robots in one batch, each with its own noise.

    Raises:
        NotFinite: a plan is not finite; the error has the rows.
        ValueError: the requests have different budgets.
    """
    (budget, *others) = {request.budget for request in requests}
    if others:
        raise ValueError("plans with different budgets cannot be made together")
    return plan_each(
        policy,
        [request.history for request in requests],
        [noise_generator(request.noise_seed) for request in requests],
        [request.guess for request in requests],
        [request.keep for request in requests],
        budget,
    )


def plan_each(
    policy: DiffusionPolicy,
    histories: Sequence[Observation],
    generators: Sequence[torch.Generator],
    guesses: Sequence[np.ndarray | None],
    keeps: Sequence[np.ndarray | None],
    budget: float | None = None,
) -> list[Chunk]:
    """Makes plans for several robots in one batch, with noise from their generators; other arguments as in `PlanRequest`.

    Raises:
        NotFinite: a plan is not finite; the error has the rows.
    """
    horizon, size = policy.spec.horizons.predict, policy.spec.action_size
    kept = any(keep is not None for keep in keeps)
    plan = policy.plan(
        stack(histories),
        generators,
        _stacked(guesses, (horizon, size)).to(policy.device),
        guessed=torch.tensor([guess is not None for guess in guesses]),
        budget=budget,
        keep=_stacked(keeps, (horizon,)) if kept else None,
    )
    return _chunks_of(plan)


def _stacked(arrays: Sequence[np.ndarray | None], shape: tuple[int, ...]) -> torch.Tensor:
    """One row per robot, with zeros for `None`."""
    return torch.from_numpy(np.stack([np.zeros(shape, np.float32) if array is None else array for array in arrays]))


def _chunks_of(plan: Plan) -> list[Chunk]:
    """Splits a batch of plans into one chunk per robot."""
    wholes = plan.chunks.cpu().numpy()
    return [
        Chunk(actions, whole, PlanStats.of_robot(row, plan.stats, plan.timing))
        for row, (actions, whole) in enumerate(zip(plan.actions, wholes, strict=True))
    ]


def carried_on(whole: np.ndarray, executed: int) -> np.ndarray:
    """A chunk `[H, A]` shifted by a number of actions and padded with its last one: a guess at the next chunk."""
    later = np.arange(len(whole)) + executed
    return whole[later.clip(max=len(whole) - 1)]

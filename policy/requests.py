"""A plan as it is asked for and as it is made: values that travel between threads, processes and machines."""

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
    """What a plan depends on besides the policy.

    Attributes:
        history: the observed steps, oldest first, of every feature `[To, *shape]`, as `read_observation` returns them.
        noise_seed: of the plan's own noise, from 0 to 2⁶³ − 1, see `noise_generator`.
        guess: `[H, A]`, a first guess at the chunk in normalised units, such as the rest of the last one; it changes what a
            plan costs, and neither its distribution nor whether there is one.
        budget: seconds for the solver, or none; see `Chunk` on what ends by it.
        keep: `[H]` from 0 to 1, how much of its guess each step of a chunk must keep, see `Inpainting`; none if `None`.
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
        whole: `[H, A]`, as it was sampled, normalised units.
        stats: what the plan took.
    """

    actions: np.ndarray
    whole: np.ndarray
    stats: PlanStats


def plan_together(policy: DiffusionPolicy, requests: Sequence[PlanRequest]) -> list[Chunk]:
    """Plans for several robots at once, each with noise of its own.

    Raises:
        ValueError: the network gave a plan that is not finite, or the requests have different budgets.
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
    """Plans for several robots at once, with the noise of their generators; for the rest see `PlanRequest`.

    Raises:
        ValueError: the network gave a plan that is not finite.
    """
    horizon, size = policy.spec.horizons.predict, policy.spec.action_size
    kept = any(keep is not None for keep in keeps)
    plan = policy.plan(
        stack(histories),
        generators,
        _stacked(guesses, (horizon, size)).to(policy.device),
        budget=budget,
        keep=_stacked(keeps, (horizon,)) if kept else None,
    )
    return _chunks_of(plan)


def _stacked(arrays: Sequence[np.ndarray | None], shape: tuple[int, ...]) -> torch.Tensor:
    """One row for each robot, zeros where it has none."""
    return torch.from_numpy(np.stack([np.zeros(shape, np.float32) if array is None else array for array in arrays]))


def _chunks_of(plan: Plan) -> list[Chunk]:
    """A plan for several robots, one by one."""
    wholes = plan.chunks.cpu().numpy()
    return [
        Chunk(actions, whole, PlanStats.of_robot(row, plan.stats, plan.timing))
        for row, (actions, whole) in enumerate(zip(plan.actions, wholes, strict=True))
    ]


def carried_on(whole: np.ndarray, executed: int) -> np.ndarray:
    """What a chunk `[H, A]` says of the time so many actions later, its end held: a guess at the next one."""
    later = np.arange(len(whole)) + executed
    return whole[later.clip(max=len(whole) - 1)]

"""Draws many plans of one sampler at the same observations."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch

from paradp.policy import DiffusionPolicy
from paradp.policy.observations import Observation, how_many, repeated, take
from paradp.sampler import NoisePath, SamplerChoice
from paradp.sampler.noise import noise_generator

# Plans computed together.
ROWS = 64
# Called with the number of newly computed rows of the network.
Report = Callable[[int], None]


@dataclass(frozen=True)
class Drawn:
    """Plans of one sampler.

    Attributes:
        chunks: `[observations, plans, H·A]`, normalised units.
        rounds, evaluations: means over all plans.
    """

    chunks: np.ndarray
    rounds: float
    evaluations: float


def draw_plans(
    policy: DiffusionPolicy,
    sampler: str,
    histories: Observation,
    plans: int,
    first_seed: int,
    report: Report = lambda rows: None,
) -> Drawn:
    """Draws several plans at each history, without a first guess.

    Args:
        policy: the policy whose network and engine are used.
        sampler: its name with options.
        histories: for each feature `[observations, To, …]`.
        plans: number of plans at each history.
        first_seed: first seed of the noise; seeds count up over the plans.
        report: called with the number of newly finished rows, counted as in a sequential solve.
    """
    policy = policy.with_solver(SamplerChoice.parse(sampler).build(policy.spec.schedule))
    steps = policy.solver.table.steps
    chunks, rounds, evaluations = [], [], []
    for seed, some in in_batches(repeated(histories, plans), first_seed):
        condition = policy.engine.encode(policy.condition(some))
        solution = policy.solver.solve(policy.engine, condition, plan_noise(policy, seed, len(condition), steps))
        chunks.append(solution.sample.flatten(1).cpu().numpy())
        rounds.append(solution.stats.rounds.cpu())
        evaluations.append(solution.stats.evaluations.cpu())
        report(len(condition) * steps)
    each = np.concatenate(chunks).reshape(how_many(histories), plans, -1)
    return Drawn(each, *(torch.cat(counts).double().mean().item() for counts in (rounds, evaluations)))


def plan_noise(policy: DiffusionPolicy, first_seed: int, count: int, steps: int) -> NoisePath:
    """The noise of `count` plans with seeds from `first_seed` on."""
    shape = (policy.spec.horizons.predict, policy.spec.action_size)
    generators = [noise_generator(seed) for seed in range(first_seed, first_seed + count)]
    return NoisePath.draw(generators, steps, shape, policy.device)


def in_batches(histories: Observation, first_seed: int) -> Iterator[tuple[int, Observation]]:
    """Yields the histories of each batch, with the seed of the first of them."""
    for at in range(0, how_many(histories), ROWS):
        yield first_seed + at, take(histories, slice(at, at + ROWS))

"""Plans of several solvers in turns, so that a slow moment of the machine is everyone's."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from paradp.policy import DiffusionPolicy
from paradp.sampler import Solver


@dataclass(frozen=True)
class Ratio:
    """How often one time fits into another: the median over the repeats, and the middle half of them."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, slower: np.ndarray, faster: np.ndarray) -> "Ratio":
        """Of times `[repeats]` taken in turns."""
        low, median, high = np.percentile(slower / faster, [25, 50, 75])
        return cls(float(median), float(low), float(high))


def time_in_turns(policy: DiffusionPolicy, solvers: Sequence[Solver], histories: np.ndarray, repeats: int) -> np.ndarray:
    """Milliseconds `[solvers, repeats]` that a plan for one robot takes; one more repeat is for warm-up.

    Args:
        policy: whose network and engine.
        solvers: who take turns; in each repeat all plan for the same observation with the same noise.
        histories: `[N, To, O]`, one for each repeat; they are used again where there are fewer.
        repeats: plans of each.
    """
    planners = [policy.with_solver(solver) for solver in solvers]
    for planner in planners:
        planner.prepare(1)
    times = np.empty((len(solvers), repeats + 1))
    for repeat in range(repeats + 1):
        history = histories[repeat % len(histories)][None]
        for row, planner in enumerate(planners):
            times[row, repeat] = 1000 * planner.plan(history, [torch.Generator().manual_seed(repeat)]).seconds
    return times[:, 1:]

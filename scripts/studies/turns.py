"""Plans by several policies in turns, so that a slow moment of the machine is everyone's."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from paradp.policy import DiffusionPolicy
from paradp.policy.observations import Observation, how_many, take


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


def time_in_turns(policies: Sequence[DiffusionPolicy], histories: Observation, repeats: int) -> np.ndarray:
    """Milliseconds `[policies, repeats]` that a plan for one robot takes; one more repeat is for warm-up.

    Before every plan that is timed the policy makes one that is not: in use it is alone in its process, and the weights of
    all others would have driven its own from the processor's caches.

    Args:
        policies: who take turns; in each repeat all plan for the same observation with the same seed, and another is first.
            Each needs an engine of its own where the engine compiles for a policy's numbers of rows.
        histories: N of them, one for each repeat; they are used again where there are fewer.
        repeats: plans of each.
    """
    for policy in policies:
        policy.prepare(1)
    times = np.empty((len(policies), repeats + 1))
    for repeat in range(repeats + 1):
        history = take(histories, [repeat % how_many(histories)])
        for row in np.roll(np.arange(len(policies)), repeat):
            for seed in (repeats + repeat, repeat):
                plan = policies[row].plan(history, [torch.Generator().manual_seed(seed)])
            times[row, repeat] = 1000 * plan.seconds
    return times[:, 1:]

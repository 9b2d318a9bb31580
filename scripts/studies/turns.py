"""Times several policies in turns, so that a slow moment of the machine affects all of them alike."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from paradp.policy import DiffusionPolicy
from paradp.policy.observations import Observation, how_many, take


@dataclass(frozen=True)
class Ratio:
    """The ratio of two times: the median over the repeats, with the 25th and 75th percentiles."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, slower: np.ndarray, faster: np.ndarray) -> "Ratio":
        """The ratio of two arrays of times `[repeats]`, measured in turns."""
        low, median, high = np.percentile(slower / faster, [25, 50, 75])
        return cls(float(median), float(low), float(high))


def time_in_turns(policies: Sequence[DiffusionPolicy], histories: Observation, repeats: int) -> np.ndarray:
    """Latencies of plans for one robot in ms, `[policies, repeats]`. One more repeat is for warm-up.

    Before each timed plan the policy makes one that is not timed. In use a policy is alone in its process; here the weights
    of the other policies have replaced its own in the processor's caches.

    Args:
        policies: the policies. In each repeat all plan for the same observation with the same seed, in rotating order. Each
            needs its own engine if the engine compiles for the policy's batch sizes.
        histories: N observation histories, one for each repeat; repeated from the start if there are fewer than repeats.
        repeats: number of timed plans of each policy.
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

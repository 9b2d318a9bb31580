"""Many plans of one sampler at the same observations."""

import time
from dataclasses import dataclass

import numpy as np
import torch

from paradp.policy import DiffusionPolicy
from paradp.sampler import SamplerChoice
from paradp.scripts.console import console


@dataclass(frozen=True)
class Drawn:
    """Plans of one sampler.

    Attributes:
        chunks: `[observations, plans, H·A]`, normalised units.
        rounds, evaluations: means over all of them.
    """

    chunks: np.ndarray
    rounds: float
    evaluations: float


def draw_plans(policy: DiffusionPolicy, sampler: str, histories: np.ndarray, plans: int, stream: int) -> Drawn:
    """So many plans at each of the histories `[observations, To, O]`; every stream has noise of its own."""
    started = time.perf_counter()
    policy = policy.with_solver(SamplerChoice.parse(sampler).build(policy.spec.schedule))
    chunks, rounds, evaluations = [], [], []
    for i, history in enumerate(histories):
        first = (stream * len(histories) + i) * plans
        generators = [torch.Generator().manual_seed(first + k) for k in range(plans)]
        plan = policy.plan(np.repeat(history[None], plans, 0), generators)
        chunks.append(plan.chunks.flatten(1).cpu().numpy())
        rounds.append(plan.stats.rounds.double().mean().item())
        evaluations.append(plan.stats.evaluations.double().mean().item())
    console.print(f"{sampler}: {plans * len(histories)} plans in {time.perf_counter() - started:.0f} s")
    return Drawn(np.stack(chunks), float(np.mean(rounds)), float(np.mean(evaluations)))

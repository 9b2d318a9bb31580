"""Measures cost and error of samplers on one policy, with the same observations and noise for all."""

from dataclasses import dataclass
from functools import cache

import numpy as np
import torch

from paradp.policy import DiffusionPolicy
from paradp.policy.observations import Observation, how_many
from paradp.rollouts.expert_histories import expert_histories
from paradp.sampler import NoisePath, SamplerChoice, Solution

COST_HEADER = ["rounds a chunk", "most", "evaluations", "error, median", "99th percentile"]


@dataclass(frozen=True)
class MeasuredSampler:
    """The results of one sampler over n observations.

    Attributes:
        rounds, evaluations: `[n]`.
        error: `[n]`, largest absolute difference of a chunk to the sequential sample on the same noise, normalised units;
            `None` for a sequential sampler, and for one with the sequential distribution but other samples.
        converged: the share of converged chunks.
        remark: printed instead of the error, if there is none.
    """

    rounds: np.ndarray
    evaluations: np.ndarray
    error: np.ndarray | None
    converged: float
    remark: str = ""

    def cells(self) -> list[str]:
        """The columns of `COST_HEADER`."""
        cost = [f"{self.rounds.mean():.1f}", f"{self.rounds.max()}", f"{self.evaluations.mean():.0f}"]
        if self.error is None:
            return [*cost, self.remark, ""]
        return [*cost, f"{np.median(self.error):.1e}", f"{np.percentile(self.error, 99):.1e}"]


class Bench:
    """A policy with observations and noise that are the same for every sampler.

    Args:
        policy: the policy to sample from.
        observations: number of observations, along the scripted expert's episodes.
        seed: seed of the first of those episodes.
        histories: N observation histories to use instead.
    """

    def __init__(
        self,
        policy: DiffusionPolicy,
        observations: int = 64,
        seed: int = 20_000,
        histories: Observation | None = None,
    ):
        self.policy = policy
        self.histories = expert_histories(policy.spec, observations, seed) if histories is None else histories
        self.observations = how_many(self.histories)
        self.condition = policy.engine.encode(policy.condition(self.histories))
        self._solve = cache(self._solve_once)

    def measure(self, sampler: str) -> MeasuredSampler:
        """Solves for all observations as one batch."""
        solution = self._solve(sampler)
        rounds, evaluations = solution.stats.rounds.numpy(), solution.stats.evaluations.numpy()
        converged = float(solution.stats.converged.double().mean())
        choice = SamplerChoice.parse(sampler)
        if choice.exact:
            remark = "reference" if choice.family == choice.sequential.family else "exact distribution"
            return MeasuredSampler(rounds, evaluations, None, converged, remark)
        reference = self._solve(str(choice.sequential))
        error = (solution.sample - reference.sample).abs().amax((1, 2)).numpy()
        return MeasuredSampler(rounds, evaluations, error, converged)

    def _solve_once(self, sampler: str) -> Solution:
        solver = SamplerChoice.parse(sampler).build(self.policy.spec.schedule)
        return solver.solve(self.policy.engine, self.condition, self.noise(solver.table.steps))

    def noise(self, steps: int) -> NoisePath:
        """The noise paths of the observations, for trajectories with this number of steps."""
        generators = [torch.Generator().manual_seed(i) for i in range(self.observations)]
        return NoisePath.draw(generators, steps, (self.policy.spec.horizons.predict, self.policy.spec.action_size))

    def describe(self) -> str:
        return f"""{self.observations} observations along the scripted expert's episodes, all as one batch, each with
the same noise path for all samplers. The error of a chunk is the largest absolute difference to the sequential sampler of
the same steps on the same noise, over the whole horizon, in normalised units. The network was computed by the
{self.policy.engine.name} engine in {self.policy.engine.precision}."""

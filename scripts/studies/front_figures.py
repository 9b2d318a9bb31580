"""Measures the cost of each sampler and reads its outcomes, for the map of latency against fidelity."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from paradp.checkpoints import load_policy
from paradp.policy import DiffusionPolicy
from paradp.policy.fidelity import Fidelity
from paradp.policy.observations import Observation
from paradp.rollouts.evaluation.comparison import ComparedRun
from paradp.rollouts.expert_histories import scattered_histories
from paradp.rollouts.statistics import Estimate, bootstrap
from paradp.sampler import SamplerChoice
from paradp.scripts.studies.bench import Bench
from paradp.scripts.studies.context import Context
from paradp.scripts.studies.shipped_runs import REFERENCE, keep_runs, read_runs
from paradp.scripts.studies.turns import Ratio, time_in_turns

# Latencies are divided by that of this sampler in the same run.
USUAL = "ddim-10"
SAMPLERS = (
    REFERENCE,
    "para-ddpm",
    "speculative-ddpm:window=4",
    "speculative-ddpm:window=8",
    "speculative-ddpm:window=20",
    "speculative-ddpm:ahead=30:window=100",
    "speculative-ddpm-25:window=4",
    *(f"speculative-ddpm-{steps}:spacing=sine:window=4" for steps in (20, 16)),
    "speculative-ddpm-20:ahead=8:spacing=sine:window=20",
    "speculative-sde-dpm-solver-20:window=4",
    "speculative-sde-dpm-solver-16:spacing=sine:window=4",
    "speculative-sde-dpm-solver-10:spacing=sine:window=10",
    *(
        f"{way}sde-dpm-solver-{steps}:spacing=sine{window}"
        for steps in (12, 10, 9, 8, 7, 6, 5)
        for way, window in (("", ""), ("speculative-", ":window=2"))
    ),
    USUAL,
    "ddim-10:spacing=trailing",
    "ddim-15:spacing=trailing",
    "ddim-25",
    "dpm-solver-10",
    "dpm-solver-15",
)
# For samplers with fitted steps: the window, and the largest number of steps that is sampled sequentially.
FITTED_WINDOW, FEW = 4, 10
THREADS = (1, 2)
EPISODES, EACH, SEED, REPEATS = 32, 2, 20_000, 40


@dataclass(frozen=True)
class PlanCost:
    """The cost of a plan.

    Attributes:
        ms: number of threads → latencies in ms, `[REPEATS]`, measured in turns with all other samplers.
        rounds, evaluations: cost without a first guess, over `EPISODES` episodes of the expert.
    """

    ms: Mapping[int, np.ndarray]
    rounds: Estimate
    evaluations: Estimate

    def p50(self, threads: int) -> float:
        """Median latency of a plan in ms, with this number of threads."""
        return float(np.median(self.ms[threads]))

    def p99(self, threads: int) -> float:
        """99 % quantile of the latency of a plan in ms, with this number of threads."""
        return float(np.percentile(self.ms[threads], 99))

    def over(self, other: "PlanCost", threads: int) -> Ratio:
        """The ratio of its latency to another's, for each repeat."""
        return Ratio.of(self.ms[threads], other.ms[threads])


def measure_costs(task: str, samplers: Sequence[str]) -> dict[str, PlanCost]:
    """Measures latency, rounds and evaluations of each sampler with the shipped policy, on the default engine."""
    policy = load_policy(task, REFERENCE)
    histories = scattered_histories(policy.spec, EPISODES, EACH, SEED)
    bench = Bench(policy, histories=histories)
    times = {threads: _times(task, samplers, histories, threads) for threads in THREADS}
    costs = {}
    for row, sampler in enumerate(samplers):
        counted = bench.measure(sampler)
        costs[sampler] = PlanCost(
            {threads: taken[row] for threads, taken in times.items()},
            _over_episodes(counted.rounds),
            _over_episodes(counted.evaluations),
        )
    return costs


def _times(task: str, samplers: Sequence[str], histories: Observation, threads: int) -> np.ndarray:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        policies: list[DiffusionPolicy] = [load_policy(task, sampler) for sampler in samplers]
        return time_in_turns(policies, histories, REPEATS)
    finally:
        torch.set_num_threads(before)


def _over_episodes(values: np.ndarray) -> Estimate:
    """The mean of values `[EPISODES · EACH]`, bootstrapped over episodes, as moments of one episode are not independent."""
    return bootstrap(list(values.reshape(-1, EACH).mean(1)))


@dataclass(frozen=True)
class Outcomes:
    """The episodes of an evaluation of the shipped weights, by the steps of the sampler.

    A speculative sampler has exactly the distribution of the sequential one, so both share their episodes.
    """

    runs: Mapping[str, ComparedRun]

    @classmethod
    def read(cls, context: Context, task: str, samplers: Sequence[str]) -> "Outcomes":
        """Reads the runs of these samplers and of their steps, and keeps them; raises as `read_runs`."""
        known = dict.fromkeys(name for sampler in samplers for name in (sampler, steps_of(sampler)))
        runs = read_runs(context, task, known).runs
        keep_runs(context, task, known)
        # The first of several runs with the same distribution is used; the reference comes first.
        return cls({steps_of(run.label): run for run in reversed(runs)})

    def of(self, sampler: str) -> ComparedRun | None:
        return self.runs.get(steps_of(sampler))


def steps_of(sampler: str) -> str:
    """The sampler that determines its distribution: the sequential one with its steps if it is exact, else itself."""
    choice = SamplerChoice.parse(sampler)
    return str(choice.sequential if choice.exact else choice)


def samplers_for(fidelity: Fidelity) -> tuple[str, ...]:
    """The samplers to measure with a policy: those of all maps, and those whose grid or noise was fitted to the policy."""
    fitted = [name for name in fidelity.steps if {"timesteps", "eta"} & {*SamplerChoice.parse(name).of_steps}]
    return (*SAMPLERS, *map(_taken, fitted))


def _taken(fitted: str) -> str:
    """The sampler for fitted steps: sequential for few steps, otherwise speculative."""
    few = (SamplerChoice.parse(fitted).steps or 0) <= FEW
    return fitted if few else f"speculative-{fitted}:window={FITTED_WINDOW}"

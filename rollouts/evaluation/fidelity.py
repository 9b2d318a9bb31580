"""Measures how near the plans of fewer steps come to DDPM's own, at observations of the task."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
import torch

from paradp.policy import DiffusionPolicy
from paradp.policy.data.dataset import Dataset, step_count
from paradp.policy.features import Shape
from paradp.policy.fidelity import Interval, StepsFidelity
from paradp.policy.observations import Observation, how_many, repeated, take
from paradp.policy.spec import PolicySpec
from paradp.rollouts.evaluation.plans import Report, draw_plans, in_batches, plan_noise
from paradp.rollouts.evaluation.two_sample import coverage, spread_ratio, two_sample_test
from paradp.rollouts.statistics import Estimate, bootstrap
from paradp.sampler import SamplerChoice
from paradp.sampler.fitted_grids import best_grids, mean_distances, record_predictions, step_costs, step_weights
from paradp.sampler.schedules import ddpm_table

REFERENCE = "ddpm"
# Without a grid of their own, and the numbers of timesteps that grids are fitted for.
STEPS = (
    "ddpm-25",
    "ddpm-20:spacing=sine",
    "ddpm-16:spacing=sine",
    "sde-dpm-solver-20",
    "sde-dpm-solver-16:spacing=sine",
    *(f"sde-dpm-solver-{steps}:spacing=sine" for steps in (12, 10, 9, 8, 7, 6, 5)),
    "ddim-10",
    "ddim-25",
    "ddim-10:spacing=trailing",
    "ddim-15:spacing=trailing",
    "dpm-solver-10",
    "dpm-solver-15",
)
FITTED = (8, 10, 12, 16)
# Numbers of steps so small that each η errs differently, and the η that are tried for them.
FEW = (5, 6, 7, 8)
ETAS = (1.0, 1.5, 2.5, 4.0)
# From here on, apart from the seeds of the judged plans, which count up from the given one.
_FITTING_SEED = 2**24
PERMUTATIONS = 1000
# Recorded at each observation that grids are fitted at.
TRAJECTORIES = 8


@dataclass(frozen=True)
class Observations:
    """Where plans are made.

    Attributes:
        fitting: n histories that grids and shares of noise are fitted at, of every feature `[n, To, …]`.
        judging: other ones, that all steps are judged at.
    """

    fitting: Observation
    judging: Observation


def recorded_observations(demonstrations: Dataset, spec: PolicySpec, judging: int, seed: int) -> Observations:
    """Random moments of demonstrations; no moment twice.

    Args:
        demonstrations: of the policy's task.
        spec: the policy's.
        judging: how many to judge at; half as many are fitted at.
        seed: chooses them.

    Raises:
        ValueError: they are of another task, observe other things, or have too few steps.
    """
    info, path = demonstrations.info, demonstrations.path
    if info.task != spec.task:
        raise ValueError(f"{path} holds demonstrations of {info.task!r}, and the policy is for {spec.task!r}")
    if list(info.observation.items()) != list(spec.observation.items()):
        raise ValueError(f"{path} observes {_listed(info.observation)}, and the policy {_listed(spec.observation)}")
    fitting = fitted_at(judging)
    if (steps := step_count(demonstrations)) < judging + fitting:
        raise ValueError(f"{path} has {steps} steps; {judging + fitting} observations are needed")
    moments = np.random.default_rng(seed).choice(steps, judging + fitting, replace=False)
    ends = demonstrations.episode_ends
    starts = np.concatenate([[0], ends[:-1]])[np.searchsorted(ends, moments, side="right")]
    observed = np.maximum(starts[:, None], moments[:, None] + np.arange(1 - spec.horizons.observe, 1))
    histories = take(demonstrations.observations(), observed)
    return Observations(take(histories, slice(fitting)), take(histories, slice(fitting, None)))


def fitted_at(judging: int) -> int:
    """How many observations steps are fitted at, beside so many that they are judged at."""
    return max(1, judging // 2)


def rows_of(observations: Observations, samplers: Sequence[str], plans: int, trained: int, few: Sequence[int] = ()) -> int:
    """Rows of the network that `fit_grids`, `fit_noise` and `measure_steps` compute.

    Args:
        observations, plans: as theirs.
        samplers: sequential ones, without the reference.
        trained: timesteps of the training.
        few: numbers of steps that `fit_noise` is given.
    """
    judged = sum(SamplerChoice.parse(name).steps or trained for name in (REFERENCE, *samplers))
    tried = trained + len(ETAS) * sum(few) if few else 0
    fitted = TRAJECTORIES * trained + plans * tried
    return how_many(observations.fitting) * fitted + how_many(observations.judging) * plans * judged


def fit_grids(policy: DiffusionPolicy, histories: Observation, most: int, seed: int, report: Report) -> list[list[int]]:
    """For N = 1 … `most`, the N timesteps that keep most of DDPM's distribution at histories, of every feature `[n, To, …]`.

    Args:
        most: the largest N.
        policy, histories, seed, report: as of `measure_costs`.
    """
    costs = measure_costs(policy, histories, seed, report)
    timesteps = ddpm_table(policy.spec.schedule).timesteps
    return [timesteps[grid].tolist() for grid in best_grids(costs, min(most, len(timesteps)))]


def measure_costs(policy: DiffusionPolicy, histories: Observation, seed: int, report: Report) -> np.ndarray:
    """What every coarse step loses, `[T+1, T+1]`, see `paradp.sampler.fitted_grids`.

    Args:
        policy: whose predictions count.
        histories: of every feature `[n, To, …]`; `TRAJECTORIES` sequential trajectories are recorded at each.
        seed: of their noise.
        report: given how many more rows the network has computed.
    """
    table = ddpm_table(policy.spec.schedule)
    recorded = []
    for first, some in in_batches(repeated(histories, TRAJECTORIES), seed):
        condition = policy.engine.encode(policy.condition(some))
        noise = plan_noise(policy, first, len(condition), table.steps)
        recorded.append(record_predictions(table, policy.engine, condition, noise))
        report(len(condition) * table.steps)
    return step_costs(mean_distances(torch.cat(recorded, 1)), step_weights(table))


def fit_noise(
    policy: DiffusionPolicy, histories: Observation, few: Sequence[int], plans: int, seed: int, report: Report
) -> list[str]:
    """For numbers of steps, the sampler of SDE-DPM-Solver with the η of the least energy coefficient beside DDPM's plans.

    Args:
        few: the numbers.
        policy, histories, plans, seed, report: as of `measure_steps`.
    """
    tried = [[_noisy_name(steps, eta) for eta in ETAS] for steps in few]
    measured = measure_steps(policy, [*chain(*tried)], histories, plans, seed + _FITTING_SEED, report)
    return [min(names, key=lambda name: measured[name].energy.value) for names in tried]


def _noisy_name(steps: int, eta: float) -> str:
    """Without a word of η where it is DDPM's."""
    return f"sde-dpm-solver-{steps}:{'' if eta == 1 else f'eta={eta}:'}spacing=sine"


def fitted_name(kind: str, grid: Sequence[int]) -> str:
    """The sampler of some kind of steps on a grid."""
    return f"{kind}-{len(grid)}:timesteps={'-'.join(map(str, grid))}"


def measure_steps(
    policy: DiffusionPolicy, samplers: Sequence[str], histories: Observation, plans: int, seed: int, report: Report
) -> dict[str, StepsFidelity]:
    """By sampler, its plans beside those of DDPM at the same histories, of every feature `[m, To, …]`.

    Args:
        policy: whose plans.
        samplers: sequential ones.
        histories: where.
        plans: of each sampler at each.
        seed: from it all noise is drawn, and no plan's twice.
        report: given how many more rows the network has computed.
    """
    each = how_many(histories) * plans
    reference = draw_plans(policy, REFERENCE, histories, plans, seed, report).chunks
    return {
        name: compare(draw_plans(policy, name, histories, plans, seed + i * each, report).chunks, reference)
        for i, name in enumerate(samplers, start=1)
    }


def compare(drawn: np.ndarray, reference: np.ndarray) -> StepsFidelity:
    """Plans beside the reference's, both `[observations, plans, H·A]`."""
    test = two_sample_test(drawn, reference, PERMUTATIONS)
    return StepsFidelity(
        energy=_interval(bootstrap(list(test.by_observation))),
        p_value=test.p_value,
        coverage=_interval(bootstrap(list(coverage(drawn, reference)))),
        spread=_interval(spread_ratio(drawn, reference)),
    )


def _interval(estimate: Estimate) -> Interval:
    return Interval(estimate.mean, *estimate.ci95)


def _listed(sizes: dict[str, Shape]) -> str:
    return ", ".join(f"{key} ({size})" for key, size in sizes.items())

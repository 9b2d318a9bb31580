"""Measures how close the plans of samplers with fewer steps are to DDPM's, at observations of the task."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
import torch

from paradp.policy import DiffusionPolicy
from paradp.policy.data.dataset import Dataset
from paradp.policy.data.histories import recorded_histories
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
# Samplers without a fitted grid, and the numbers of timesteps for which grids are fitted.
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
# Numbers of steps so small that the error depends on η, and the values of η that are tried for them.
FEW = (5, 6, 7, 8)
ETAS = (1.0, 1.5, 2.5, 4.0)
# Added to the seed for fitting η, and twice for grids: far from the judged plans' seeds, which count up from the given one.
_FITTING_SEED = 2**24
PERMUTATIONS = 1000
# Trajectories recorded at each observation for fitting.
TRAJECTORIES = 8


@dataclass(frozen=True)
class Observations:
    """Observation histories at which plans are compared.

    Attributes:
        fitting: n histories for fitting grids and values of η, for each feature `[n, To, …]`.
        judging: other histories, on which all samplers are judged.
    """

    fitting: Observation
    judging: Observation


def recorded_observations(demonstrations: Dataset, spec: PolicySpec, judging: int, seed: int) -> Observations:
    """Draws random control steps of demonstrations, without repetition.

    Args:
        demonstrations: demonstrations of the policy's task.
        spec: the policy's specification.
        judging: number of histories for judging; half as many are used for fitting.
        seed: seed of the random choice.

    Raises:
        ValueError: the demonstrations are of another task, have other observations, or too few steps.
    """
    fitting = fitted_at(judging)
    histories = recorded_histories(demonstrations, spec, judging + fitting, seed)
    return Observations(take(histories, slice(fitting)), take(histories, slice(fitting, None)))


def fitted_at(judging: int) -> int:
    """The number of observations for fitting, for a number of observations for judging."""
    return max(1, judging // 2)


def rows_of(observations: Observations, samplers: Sequence[str], plans: int, trained: int, few: Sequence[int] = ()) -> int:
    """The number of rows of the network that `fit_grids`, `fit_noise` and `measure_steps` compute.

    Args:
        observations, plans: as for these functions.
        samplers: sequential samplers, without the reference.
        trained: timesteps of the training.
        few: numbers of steps for `fit_noise`.
    """
    judged = sum(SamplerChoice.parse(name).steps or trained for name in (REFERENCE, *samplers))
    tried = trained + len(ETAS) * sum(few) if few else 0
    fitted = TRAJECTORIES * trained + plans * tried
    return how_many(observations.fitting) * fitted + how_many(observations.judging) * plans * judged


def fit_grids(policy: DiffusionPolicy, histories: Observation, most: int, seed: int, report: Report) -> list[list[int]]:
    """Finds, for N = 1 … `most`, the N timesteps whose samples are closest to DDPM's distribution.

    Args:
        most: the largest N.
        policy, histories, seed, report: as for `measure_costs`.
    """
    costs = measure_costs(policy, histories, seed + 2 * _FITTING_SEED, report)
    timesteps = ddpm_table(policy.spec.schedule).timesteps
    return [timesteps[grid].tolist() for grid in best_grids(costs, min(most, len(timesteps)))]


def measure_costs(policy: DiffusionPolicy, histories: Observation, seed: int, report: Report) -> np.ndarray:
    """Measures the loss of every coarse step, `[T+1, T+1]`, see `paradp.sampler.fitted_grids`.

    Args:
        policy: the policy that predicts.
        histories: for each feature `[n, To, …]`; `TRAJECTORIES` sequential trajectories are recorded at each.
        seed: seed of their noise.
        report: called with the number of newly computed rows of the network.
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
    """Finds, for each number of steps, SDE-DPM-Solver's η with the smallest energy coefficient to DDPM's plans.

    Args:
        few: the numbers of steps.
        policy, histories, plans, seed, report: as for `measure_steps`.
    """
    tried = [[_noisy_name(steps, eta) for eta in ETAS] for steps in few]
    measured = measure_steps(policy, [*chain(*tried)], histories, plans, seed + _FITTING_SEED, report)
    return [min(names, key=lambda name: measured[name].energy.value) for names in tried]


def _noisy_name(steps: int, eta: float) -> str:
    """The sampler's name; leaves η out where it is DDPM's."""
    return f"sde-dpm-solver-{steps}:{'' if eta == 1 else f'eta={eta}:'}spacing=sine"


def fitted_name(kind: str, grid: Sequence[int]) -> str:
    """The name of the sampler with these steps on a grid."""
    return f"{kind}-{len(grid)}:timesteps={'-'.join(map(str, grid))}"


def measure_steps(
    policy: DiffusionPolicy, samplers: Sequence[str], histories: Observation, plans: int, seed: int, report: Report
) -> dict[str, StepsFidelity]:
    """Compares the plans of each sampler with DDPM's at the same histories.

    Args:
        policy: the policy that plans.
        samplers: names of sequential samplers.
        histories: for each feature `[m, To, …]`.
        plans: number of plans of each sampler at each history.
        seed: seed of all noise; each plan has different noise.
        report: called with the number of newly computed rows of the network.
    """
    each = how_many(histories) * plans
    reference = draw_plans(policy, REFERENCE, histories, plans, seed, report).chunks
    return {
        name: compare(draw_plans(policy, name, histories, plans, seed + i * each, report).chunks, reference)
        for i, name in enumerate(samplers, start=1)
    }


def compare(drawn: np.ndarray, reference: np.ndarray) -> StepsFidelity:
    """Compares plans with the reference's, both `[observations, plans, H·A]`."""
    test = two_sample_test(drawn, reference, PERMUTATIONS)
    return StepsFidelity(
        energy=_interval(bootstrap(list(test.by_observation))),
        p_value=test.p_value,
        coverage=_interval(bootstrap(list(coverage(drawn, reference)))),
        spread=_interval(spread_ratio(drawn, reference)),
    )


def _interval(estimate: Estimate) -> Interval:
    return Interval(estimate.mean, *estimate.ci95)

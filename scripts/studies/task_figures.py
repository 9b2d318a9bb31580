"""Measures the figures of one task, for the study of all tasks."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from paradp.checkpoints import find_checkpoint, load_policy
from paradp.checkpoints.cards import Trained, read_trainings
from paradp.policy import DiffusionPolicy, PolicySpec
from paradp.policy.observations import Observation
from paradp.rollouts.evaluation.comparison import ComparedRun, Comparison
from paradp.rollouts.expert_histories import scattered_histories
from paradp.rollouts.statistics import Estimate, bootstrap
from paradp.sampler import NoisePath
from paradp.scripts.lists import PAPER_SAMPLERS
from paradp.scripts.studies.bench import Bench
from paradp.scripts.studies.context import Context
from paradp.scripts.studies.experts import ExpertFigures
from paradp.scripts.studies.shipped_runs import REFERENCE, keep_runs, read_runs
from paradp.scripts.studies.turns import Ratio, time_in_turns

EXACT = "speculative-ddpm:window=8"
# Few steps: on the front of every task that has one.
FEW = "sde-dpm-solver-8:spacing=sine"
PARA = "para-ddpm"
SAMPLERS = (REFERENCE, PARA, EXACT, FEW)
# Columns of the table of latencies.
SPEED = ("task", "ddpm, ms", PARA, f"`{EXACT}`", f"`{FEW}`", "auto", "which is")
# The widest window covers the whole trajectory: there every round except the last ends at a rejection.
WINDOWS = (2, 4, 8, 20, 100)
EPISODES, EACH, SEED = 32, 2, 20_000
REPEATS = 40
# Plans for each observation. Their spread measures how much the observation leaves undecided.
PLANS = 8


@dataclass(frozen=True)
class Denoising:
    """The cost of one policy's plans at observations from the expert's episodes.

    Attributes:
        trainings: trainings of the policy, the last one first.
        rounds: window → rounds of the exact sampler without a first guess, over `EPISODES` episodes of the expert.
        undecided: spread of plans for one observation (root mean square over values, normalised units), over the same.
        para_rounds, para_evaluations: cost of a plan of ParaDDPM with the paper's settings, over the same.
    """

    trainings: list[Trained]
    rounds: dict[int, Estimate]
    undecided: Estimate
    para_rounds: Estimate
    para_evaluations: Estimate

    @property
    def rejections(self) -> Estimate:
        """Rejections per plan without a first guess."""
        widest = self.rounds[max(self.rounds)]
        return Estimate(widest.mean - 1, (widest.ci95[0] - 1, widest.ci95[1] - 1))


@dataclass(frozen=True)
class TaskFigures:
    """The figures of a task and its shipped policy.

    Attributes:
        spec: specification of the policy.
        expert: results of the study of experts.
        evaluation: episodes of `SAMPLERS`, and of the paper's other samplers if they were run.
        denoising: figures of the shipped policy.
        otherwise: figures of policies from other trainings.
        chosen: the sampler that `auto` chose.
        speed: sampler → latency of sequential DDPM over that of the sampler.
        sequential_ms: median latency of sequential DDPM in ms.
    """

    spec: PolicySpec
    expert: ExpertFigures
    evaluation: Comparison
    denoising: Denoising
    otherwise: list[Denoising]
    chosen: str
    speed: dict[str, Ratio]
    sequential_ms: float

    @property
    def exact(self) -> ComparedRun:
        return next(run for run in self.evaluation.runs if run.label == EXACT)


def read_evaluation(context: Context, task: str) -> Comparison:
    """Reads the runs of a task, and keeps them beside the pages.

    Raises:
        ValueError: as `read_runs`, or the runs begin with different episodes.
    """
    samplers = dict.fromkeys((*PAPER_SAMPLERS, *SAMPLERS))
    evaluation = read_runs(context, task, samplers, (REFERENCE, EXACT))
    # More episodes of some samplers are welcome: differences are those of the seeds in common.
    if len({run.summary.seed for run in evaluation.runs}) > 1:
        raise ValueError(f"the runs of {task} begin with different episodes")
    keep_runs(context, task, samplers)
    return evaluation


def measure(task: str, expert: ExpertFigures, evaluation: Comparison, others: Sequence[Path]) -> TaskFigures:
    """Measures the latency and rounds of plans; `others` are checkpoints of the same task."""
    autotuned = load_policy(task)
    assert autotuned.planned is not None
    histories = scattered_histories(autotuned.spec, EPISODES, EACH, SEED)
    policies = {name: load_policy(task, name) for name in SAMPLERS} | {"auto": autotuned}
    times = dict(zip(policies, time_in_turns(list(policies.values()), histories, REPEATS), strict=True))
    return TaskFigures(
        autotuned.spec,
        expert,
        evaluation,
        _denoising(find_checkpoint(task), histories),
        [_denoising(other, histories) for other in others],
        autotuned.planned.sampler,
        {name: Ratio.of(times["ddpm"], taken) for name, taken in times.items() if name != "ddpm"},
        float(np.median(times["ddpm"])),
    )


def _denoising(checkpoint: Path, histories: Observation) -> Denoising:
    policy = load_policy(checkpoint, "ddpm")
    bench = Bench(policy, histories=histories)
    para = bench.measure(PARA)
    return Denoising(
        read_trainings(checkpoint),
        {window: _over_episodes(bench.measure(f"speculative-ddpm:window={window}").rounds) for window in WINDOWS},
        _over_episodes(_undecided(policy, bench)),
        _over_episodes(para.rounds),
        _over_episodes(para.evaluations),
    )


def _over_episodes(values: np.ndarray) -> Estimate:
    """The mean of values `[EPISODES · EACH]`, bootstrapped over episodes, as moments of one episode are not independent."""
    return bootstrap(list(values.reshape(-1, EACH).mean(1)))


def _undecided(policy: DiffusionPolicy, bench: Bench) -> np.ndarray:
    """The spread of plans for each observation."""
    generators = [torch.Generator().manual_seed(i) for i in range(PLANS * bench.observations)]
    shape = (policy.spec.horizons.predict, policy.spec.action_size)
    noise = NoisePath.draw(generators, policy.solver.table.steps, shape)
    chunks = policy.solver.solve(policy.engine, bench.condition.repeat_interleave(PLANS, 0), noise).sample
    return chunks.view(bench.observations, PLANS, -1).var(1).mean(1).sqrt().numpy()

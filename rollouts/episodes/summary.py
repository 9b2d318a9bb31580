"""`summary.json`: what a run measured, in one page that other programs read."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from paradp.policy import PolicySpec
from paradp.policy.files import write_whole
from paradp.policy.files.limits import DOCUMENT_BYTES
from paradp.policy.files.reading import read_validated
from paradp.policy.plan_stats import PlanStats
from paradp.rollouts.episodes.identity import RunIdentity, SamplerUsed
from paradp.rollouts.episodes.records import Episode, jerk
from paradp.rollouts.statistics import Estimate, Quantiles, bootstrap, wilson
from paradp.sampler import SamplerChoice, Solver


@dataclass(frozen=True)
class Latency:
    """Milliseconds of a plan, and of a control step (which holds a plan once in Ta steps)."""

    replan: Quantiles
    step: Quantiles


@dataclass(frozen=True)
class SolverCost:
    """Means over all plans and environments."""

    rounds_mean: float
    evaluations_mean: float


@dataclass(frozen=True)
class Summary:
    """A run's results.

    Attributes:
        task: its name.
        sampler: `name` and `settings`.
        episodes: how many; episode i has seed `seed` + i.
        success: rate, with Wilson's interval.
        reward: mean of the episodes' maximal rewards, with a bootstrap interval.
        latency_ms: around the controller, with up to `envs` environments planned together, after warm-up.
        latency_ms_batch1: the same with one environment alone, over the run's first seeds, without clock or disturbance.
        solver: rounds and evaluations a plan.
        seconds_per_episode: wall-clock time from reset to end, with `envs` environments taking turns; films not counted.
        seconds_per_episode_batch1: the same with one environment alone, as the ParaDiGMS paper reports it: an episode's
            steps, times the time of a step of one environment alone; with a bootstrap interval over the episodes.
        sampler_batch1: what one environment alone was sampled with: of `auto`, what is fastest for one.
        plans_batch1: how many plans `latency_ms_batch1` is of.
        throughput_steps_per_s: control steps a second over all environments and workers, while any of them ran.
        execute: Ta, executed actions of a chunk.
        clock: what happens while the policy thinks (`paradp.rollouts.episodes.clocks`), and `controller`: when it is asked.
        disturbance: what happened to the task's object (`paradp.envs.disturbances`).
        max_steps: control steps until an episode was truncated.
        jerk: of where the robot was sent, m/s³ (PushT: px/s³), mean over episodes of the root mean square, with a bootstrap
            interval.
        steps_held: share of control steps in which the robot waited for a chunk.
        disturbed: share of episodes in which the disturbance acted.
        checkpoint: `name` and `sha256` of the weights.
        envs, threads: environments in a batch, threads of the network.
        engine, precision: what computed the network, and with which arithmetic.
        seed: of the first episode.
        hardware, versions: what it ran on.
    """

    task: str
    sampler: SamplerUsed
    episodes: int
    success: Estimate
    reward: Estimate
    latency_ms: Latency
    latency_ms_batch1: Latency
    solver: SolverCost
    seconds_per_episode: float
    seconds_per_episode_batch1: Estimate
    sampler_batch1: SamplerUsed
    plans_batch1: int
    throughput_steps_per_s: float
    execute: int
    clock: str
    controller: str
    disturbance: str | None
    max_steps: int
    jerk: Estimate
    steps_held: float
    disturbed: float
    checkpoint: dict[str, str]
    envs: int
    threads: int
    seed: int
    hardware: dict[str, Any]
    versions: dict[str, str]
    engine: str
    precision: str

    @property
    def graded(self) -> bool:
        """Whether the reward says more than success."""
        return self.reward != self.success

    @property
    def seeds(self) -> str:
        """Those of its episodes, in words."""
        return f"seed {self.seed}" if self.episodes == 1 else f"seeds {self.seed} to {self.seed + self.episodes - 1}"

    def write(self, path: Path) -> None:
        write_whole(path, _SUMMARY.dump_json(self, indent=2) + b"\n")

    @classmethod
    def read(cls, path: Path) -> "Summary":
        """Raises:
        ValueError: it is damaged, or of another version.
        OSError: there is none, or it may not be read.
        """
        return read_validated(path, DOCUMENT_BYTES, _SUMMARY)


_SUMMARY = TypeAdapter(Summary)


# What a summary says in the same words as `run.json`.
_AS_IN_RUN = ("task", "sampler", "execute", "clock", "controller", "disturbance", "max_steps", "envs", "threads", "seed",
              "hardware", "versions", "engine", "precision")  # fmt: skip


def summarise(
    identity: RunIdentity,
    sampler_batch1: SamplerUsed,
    spec: PolicySpec,
    checkpoint: str,
    episodes: Sequence[Episode],
    alone: Sequence[Episode],
) -> Summary:
    """What a run measured.

    Args:
        identity: of the run.
        sampler_batch1: what the episodes of one environment at a time were sampled with.
        spec: of its policy.
        checkpoint: its name.
        episodes: all of them.
        alone: episodes of one environment at a time, for their latency.

    Raises:
        ValueError: no plan was made in them.
    """
    success, reward = success_and_reward(episodes)
    return Summary(
        **{name: getattr(identity, name) for name in _AS_IN_RUN},
        episodes=len(episodes),
        success=success,
        reward=reward,
        latency_ms=latency(episodes),
        latency_ms_batch1=latency(alone),
        solver=solver_cost(episodes),
        seconds_per_episode=mean_seconds(episodes),
        seconds_per_episode_batch1=bootstrap(_seconds_alone(episodes, alone)),
        sampler_batch1=sampler_batch1,
        plans_batch1=sum(s.replan is not None for e in alone for s in e.steps),
        throughput_steps_per_s=throughput(episodes),
        jerk=bootstrap([jerk(episode, spec) for episode in episodes]),
        steps_held=sum(s.held for e in episodes for s in e.steps) / sum(len(e.steps) for e in episodes),
        disturbed=sum(e.disturbed for e in episodes) / len(episodes),
        checkpoint={"name": checkpoint, "sha256": identity.model_sha256},
    )


def latency(episodes: Sequence[Episode]) -> Latency:
    """Latencies over all steps and plans of some episodes.

    Raises:
        ValueError: no plan was made in them.
    """
    steps = [step for episode in episodes for step in episode.steps]
    return Latency(
        replan=Quantiles.of_seconds([plan.timing.seconds for plan in _plans(episodes)]),
        step=Quantiles.of_seconds([s.seconds for s in steps]),
    )


def success_and_reward(episodes: Sequence[Episode]) -> tuple[Estimate, Estimate]:
    """Success rate and mean reward; a reward that is 0 or 1 is a rate too, and gets a rate's interval."""
    rewards = [e.reward for e in episodes]
    binary = set(rewards) <= {0.0, 1.0}
    reward = wilson(int(sum(rewards)), len(rewards)) if binary else bootstrap(rewards)
    return wilson(sum(e.success for e in episodes), len(episodes)), reward


def solver_cost(episodes: Sequence[Episode]) -> SolverCost:
    """Errors as of `latency`."""
    plans = _plans(episodes)
    return SolverCost(sum(p.rounds for p in plans) / len(plans), sum(p.evaluations for p in plans) / len(plans))


def _plans(episodes: Sequence[Episode]) -> list[PlanStats]:
    plans = [step.replan.stats for episode in episodes for step in episode.steps if step.replan]
    if not plans:
        seeds = ", ".join(str(episode.seed) for episode in episodes[:4])
        raise ValueError(f"no plan was made in the episodes ({seeds}{', …' * (len(episodes) > 4)}): there is no latency")
    return plans


def mean_seconds(episodes: Sequence[Episode]) -> float:
    return sum(e.seconds for e in episodes) / len(episodes)


def _seconds_alone(episodes: Sequence[Episode], alone: Sequence[Episode]) -> list[float]:
    """What each of the episodes would take one at a time, by the control steps of those that ran alone."""
    step_seconds = sum(e.seconds for e in alone) / sum(len(e.steps) for e in alone)
    return [step_seconds * len(e.steps) for e in episodes]


def throughput(episodes: Sequence[Episode]) -> float:
    """Control steps a second over the time in which any of the episodes ran."""
    busy, until = 0.0, 0.0
    for episode in sorted(episodes, key=lambda e: e.started):
        # Only the overlap is a difference of clock times: seconds since 1970 resolve no better than 0.24 us.
        busy += max(0.0, episode.seconds - max(0.0, until - episode.started))
        until = max(until, episode.started + episode.seconds)
    return sum(len(e.steps) for e in episodes) / busy


# Solver settings that were renamed keep their first name in files, so that runs written before are still continued.
_NAMES_ON_DISK = {"data_variance": "gain"}


def settings(choice: SamplerChoice, solver: Solver) -> dict[str, Any]:
    """All settings of a solver, defaults included; of its table those that the choice's name does not say."""
    assert is_dataclass(solver)
    values = {_NAMES_ON_DISK.get(field.name, field.name): getattr(solver, field.name) for field in fields(solver)}
    of_steps = {name: list(value) if isinstance(value, tuple) else value for name, value in choice.of_steps.items()}
    return {name: value for name, value in values.items() if name != "table" and value is not None} | of_steps

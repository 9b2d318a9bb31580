"""`summary.json`: the results of a run, for other programs."""

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
    """Latencies in milliseconds.

    Attributes:
        replan: of a plan.
        step: of a control step, which includes a plan once in Ta steps.
        encode, denoise: of these stages of a plan. The first one draws the noise and encodes the observation, images as
            well. `None` where an older version made the run, which did not measure them.
    """

    replan: Quantiles
    step: Quantiles
    encode: Quantiles | None = None
    denoise: Quantiles | None = None


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
        episodes: number of episodes; episode i has seed `seed` + i.
        success: success rate, with Wilson's interval.
        reward: mean of the episodes' maximal rewards, with a bootstrap interval.
        latency_ms: latency of the controller with up to `envs` environments per batch, after warm-up.
        latency_ms_batch1: the same for a single environment, over the run's first seeds, without clock or disturbance.
        solver: rounds and evaluations per plan.
        seconds_per_episode: wall-clock time from reset to end, with `envs` environments in turns; without filming.
        seconds_per_episode_batch1: the same for a single environment, as in the ParaDiGMS paper: the steps of an episode,
            times the time of a step with a single environment; with a bootstrap interval over the episodes.
        sampler_batch1: sampler for a single environment; for `auto`, the fastest one for a single environment.
        plans_batch1: number of plans in `latency_ms_batch1`.
        throughput_steps_per_s: control steps per second of all environments and workers, while any of them ran.
        execute: Ta, executed actions of a chunk.
        clock, controller: simulated time of a plan, and when plans are requested (`paradp.rollouts.episodes.clocks`).
        disturbance: disturbance of the task's object (`paradp.envs.disturbances`).
        max_steps: length limit of an episode in control steps.
        jerk: of the commanded path, m/s³ (PushT: px/s³), mean over episodes of the root mean square, with a bootstrap
            interval.
        steps_held: share of control steps in which the robot waited for a chunk.
        disturbed: share of episodes in which the disturbance acted.
        checkpoint: `name` and `sha256` of the weights.
        envs, threads: environments per batch, threads of the network.
        engine, precision: software and number format of the network.
        seed: seed of the first episode.
        hardware, versions: the machine and the package versions.
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
        """Whether the reward has values other than 0 and 1."""
        return self.reward != self.success

    @property
    def seeds(self) -> str:
        """The seeds of the episodes, as text."""
        return f"seed {self.seed}" if self.episodes == 1 else f"seeds {self.seed} to {self.seed + self.episodes - 1}"

    def write(self, path: Path) -> None:
        write_whole(path, _SUMMARY.dump_json(self, indent=2) + b"\n")

    @classmethod
    def read(cls, path: Path) -> "Summary":
        """Reads a file.

        Raises:
            ValueError: it is damaged, or of another version.
            OSError: it is missing or cannot be read.
        """
        return read_validated(path, DOCUMENT_BYTES, _SUMMARY)


_SUMMARY = TypeAdapter(Summary)


# Values that a summary copies from `run.json`.
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
    """Summarises a run.

    Args:
        identity: identity of the run.
        sampler_batch1: sampler of the single-robot episodes.
        spec: specification of the policy.
        checkpoint: name of the checkpoint.
        episodes: all episodes.
        alone: single-robot episodes, which measure latency.

    Raises:
        ValueError: the episodes contain no plan.
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
        ValueError: the episodes contain no plan.
    """
    timings = [plan.timing for plan in _plans(episodes)]
    measured = all(any(timing.stages.values()) for timing in timings)
    return Latency(
        replan=Quantiles.of_seconds([timing.seconds for timing in timings]),
        step=Quantiles.of_seconds([step.seconds for episode in episodes for step in episode.steps]),
        encode=Quantiles.of_seconds([timing.encode for timing in timings]) if measured else None,
        denoise=Quantiles.of_seconds([timing.denoise for timing in timings]) if measured else None,
    )


def success_and_reward(episodes: Sequence[Episode]) -> tuple[Estimate, Estimate]:
    """Success rate and mean reward. A reward of 0 or 1 is a rate, too, and gets the interval of a rate."""
    rewards = [e.reward for e in episodes]
    binary = set(rewards) <= {0.0, 1.0}
    reward = wilson(int(sum(rewards)), len(rewards)) if binary else bootstrap(rewards)
    return wilson(sum(e.success for e in episodes), len(episodes)), reward


def solver_cost(episodes: Sequence[Episode]) -> SolverCost:
    """All plans of some episodes; errors as in `latency`."""
    plans = _plans(episodes)
    return SolverCost(sum(p.rounds for p in plans) / len(plans), sum(p.evaluations for p in plans) / len(plans))


def _plans(episodes: Sequence[Episode]) -> list[PlanStats]:
    plans = [step.replan.stats for episode in episodes for step in episode.steps if step.replan]
    if not plans:
        seeds = ", ".join(str(episode.seed) for episode in episodes[:4])
        raise ValueError(f"no plan was made in the episodes ({seeds}{', …' * (len(episodes) > 4)}): there is no latency")
    return plans


def mean_seconds(episodes: Sequence[Episode]) -> float:
    """The mean wall-clock seconds of an episode."""
    return sum(e.seconds for e in episodes) / len(episodes)


def _seconds_alone(episodes: Sequence[Episode], alone: Sequence[Episode]) -> list[float]:
    """Estimated seconds of each episode with a single robot, from the mean time of a single-robot control step."""
    step_seconds = sum(e.seconds for e in alone) / sum(len(e.steps) for e in alone)
    return [step_seconds * len(e.steps) for e in episodes]


def throughput(episodes: Sequence[Episode]) -> float:
    """Control steps per second, over the time in which at least one episode ran."""
    busy, until = 0.0, 0.0
    for episode in sorted(episodes, key=lambda e: e.started):
        # Clock times are only used for the overlap, because seconds since 1970 have a resolution of 0.24 us.
        busy += max(0.0, episode.seconds - max(0.0, until - episode.started))
        until = max(until, episode.started + episode.seconds)
    return sum(len(e.steps) for e in episodes) / busy


# Renamed solver settings keep their first name in files, so that older runs can still be continued.
_NAMES_ON_DISK = {"data_variance": "gain"}


def settings(choice: SamplerChoice, solver: Solver) -> dict[str, Any]:
    """All settings of a solver, defaults included, and those of its steps that the sampler's name does not contain."""
    assert is_dataclass(solver)
    values = {_NAMES_ON_DISK.get(field.name, field.name): getattr(solver, field.name) for field in fields(solver)}
    of_steps = {name: list(value) if isinstance(value, tuple) else value for name, value in choice.of_steps.items()}
    return {name: value for name, value in values.items() if name != "table" and value is not None} | of_steps

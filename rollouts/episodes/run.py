"""Runs the missing episodes of a run, stores them group by group, and writes the summary."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from typing import cast

from paradp.checkpoints import checkpoint_digest
from paradp.policy import EngineName
from paradp.policy.files import OutputLock
from paradp.policy.identity import describe
from paradp.rollouts.episodes.backends import EpisodeBackend, Job, ThisProcess
from paradp.rollouts.episodes.config import RolloutConfig
from paradp.rollouts.episodes.directory import RunDirectory, steps_table, write_parquet
from paradp.rollouts.episodes.group_runner import GroupRunner
from paradp.rollouts.episodes.records import Episode
from paradp.rollouts.episodes.resolving import check, identity, settled
from paradp.rollouts.episodes.runner import Subscriber
from paradp.rollouts.episodes.summary import Summary, summarise

OnProgress = Callable[[int], None]
# Called with the finished and the total number of single-robot episodes.
OnAlone = Callable[[int, int], None]


def _silent(done: int, total: int) -> None:
    pass


def rollout(
    config: RolloutConfig,
    on_progress: OnProgress = lambda episodes: None,
    backend: EpisodeBackend | None = None,
    subscribers: Sequence[Subscriber] = (),
    on_alone: OnAlone = _silent,
) -> Summary:
    """Runs the missing episodes of `config.out`, and summarises all of them.

    Args:
        config: the run.
        on_progress: called with the number of finished episodes.
        backend: runs the episodes; this process by default.
        subscribers: called for every step and every episode that this process runs.
        on_alone: called with the finished and total number of single-robot episodes, which measure latency.

    Raises:
        ValueError: task, sampler or checkpoint are unknown or do not fit each other, `config.out` holds another run or one
            of more episodes, or another process writes there.
        ChildProcessError: workers keep dying; finished work is kept.
        OSError: an episode cannot be written; those before it are kept.
    """
    [summary] = rollouts([config], on_progress, backend, subscribers=subscribers, on_alone=on_alone)
    return summary


def rollouts(
    configs: Sequence[RolloutConfig],
    on_progress: OnProgress = lambda episodes: None,
    backend: EpisodeBackend | None = None,
    alone: Callable[[RolloutConfig], Path] = lambda config: config.out / "alone",
    subscribers: Sequence[Subscriber] = (),
    on_alone: OnAlone = _silent,
) -> list[Summary]:
    """As `rollout`, for several runs that share the workers. All runs are checked before the first one starts.

    Args:
        configs: the runs.
        on_progress: called with the number of finished episodes of all runs.
        backend: runs the episodes; this process by default.
        alone: run → directory of its single-robot episodes, which measure latency.
        subscribers: called for every step and every episode that this process runs, except single-robot episodes.
        on_alone: as that of `rollout`.
    """
    with Runs(configs, backend, alone, subscribers) as runs:
        return runs.run(on_progress, on_alone)


class Runs:
    """Several checked runs; a context manager that locks their directories.

    Args:
        configs, backend, alone, subscribers: as those of `rollouts`.

    Raises:
        ValueError: as `rollout`; nothing has been written then.
    """

    def __init__(
        self,
        configs: Sequence[RolloutConfig],
        backend: EpisodeBackend | None = None,
        alone: Callable[[RolloutConfig], Path] = lambda config: config.out / "alone",
        subscribers: Sequence[Subscriber] = (),
    ):
        runner = GroupRunner()
        self._here = ThisProcess(runner)
        self._watched = ThisProcess(runner, subscribers)
        self._backend = backend or self._watched
        with ExitStack() as stack:
            stack.callback(runner.close)
            self._runs = [_OpenRun(config, runner) for config in configs]
            self._timings = [
                run if backend is None and run.config.is_alone else _OpenRun(config.alone(alone(config)), runner)
                for config, run in zip(configs, self._runs, strict=True)
            ]
            self._stack = stack.pop_all()

    def __enter__(self) -> "Runs":
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def run(self, on_progress: OnProgress = lambda episodes: None, on_alone: OnAlone = _silent) -> list[Summary]:
        """Runs the missing episodes, then the single-robot episodes with nothing else running, and writes the summaries.

        Raises:
            ValueError, ChildProcessError, OSError: as `rollout`.
        """
        for run in dict.fromkeys([*self._runs, *self._timings]):
            self._stack.enter_context(run.open())
        _run_missing(self._runs, self._backend, self._watched, on_progress)
        self._run_alone(on_alone)
        return [run.sum_up(timing) for run, timing in zip(self._runs, self._timings, strict=True)]

    def _run_alone(self, on_alone: OnAlone) -> None:
        alone = list({timing.config.out: timing for timing in self._timings}.values())  # cells share them
        if any(timing.missing() for timing in alone):
            total = sum(timing.config.episodes for timing in alone)
            _run_missing(alone, self._here, self._here, lambda done: on_alone(done, total))


def _run_missing(runs: "Sequence[_OpenRun]", backend: EpisodeBackend, here: EpisodeBackend, on_progress: OnProgress) -> None:
    jobs = {job: run for run in runs for job in run.missing()}
    done = sum(run.config.episodes for run in runs) - sum(len(job.seeds) for job in jobs)
    on_progress(done)
    # Runs with a measured clock need the machine to themselves.
    timed = [job for job in jobs if job.config.clock.kind == "measured"]
    for who, what in ((backend, [job for job in jobs if job not in timed]), (here, timed)):
        # If an episode cannot be written, the remaining jobs are cancelled.
        with closing(who.run(what)) as finished:
            for job, episodes in finished:
                jobs[job].keep(episodes)
                done += len(episodes)
                on_progress(done)


class _OpenRun:
    """One run and its directory.

    Args:
        config: the run.
        runner: loads the policy.

    Raises:
        ValueError: as `rollout`.
    """

    def __init__(self, config: RolloutConfig, runner: GroupRunner):
        check(config)
        chosen, _ = settled(config)
        self._sha256 = checkpoint_digest(config.checkpoint_path)
        policy = runner.policy(chosen, self._sha256)
        # Workers on other machines must not take another engine for the fastest.
        self.config = replace(chosen, engine=cast(EngineName, policy.engine.name))
        self._spec = policy.spec
        self._identity = identity(self.config, policy, self._sha256)
        self._directory = RunDirectory(config.out)
        self._directory.check(describe(self._identity), config.seeds)

    def open(self) -> OutputLock:
        """Locks the directory, and starts or continues the run."""
        return self._directory.open(describe(self._identity), self.config.seeds)

    def missing(self) -> list[Job]:
        """Groups with a missing episode. A group is always run as a whole, because its batch affects rounding."""
        finished, packages = self._directory.seeds(), tuple(self._identity.versions.items())
        groups = [seeds for seeds in self.config.groups if not finished.issuperset(seeds)]
        return [Job(self.config, seeds, self._sha256, packages) for seeds in groups]

    def keep(self, episodes: list[Episode]) -> None:
        """Writes a group's episodes, in the order of their seeds; a group is complete once its last episode is written."""
        for episode in sorted(episodes, key=lambda episode: episode.seed):
            self._directory.add(episode)

    def sum_up(self, alone: "_OpenRun") -> Summary:
        """Writes tables and summary of the finished episodes, with the latencies of a single robot."""
        episodes, by_itself = (run._directory.episodes(run.config.seeds) for run in (self, alone))
        self._directory.write_tables(episodes, self._spec)
        write_parquet(steps_table(by_itself), self.config.out / "alone.parquet")
        checkpoint = self.config.checkpoint_path.name
        summary = summarise(self._identity, alone._identity.sampler, self._spec, checkpoint, episodes, by_itself)
        summary.write(self.config.out / "summary.json")
        return summary

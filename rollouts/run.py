"""Running: episodes that are still missing are run, kept as they end, and summed up."""

from collections.abc import Callable, Sequence
from pathlib import Path

from paradp.checkpoints import read_info
from paradp.rollouts.backends import Backend, InProcess, Job
from paradp.rollouts.config import RolloutConfig
from paradp.rollouts.directory import RunDirectory, steps_table, write_parquet
from paradp.rollouts.records import Episode
from paradp.rollouts.summary import Summary, summarise
from paradp.rollouts.workplace import Workplace

OnProgress = Callable[[int], None]


def rollout(
    config: RolloutConfig, on_progress: OnProgress = lambda episodes: None, backend: Backend | None = None
) -> Summary:
    """Runs the episodes that are still missing in `config.out`, and sums up all of them.

    Args:
        config: what to run.
        on_progress: told how many episodes are finished.
        backend: who runs them; this process by default.

    Raises:
        ValueError: task, sampler or checkpoint are unknown or do not fit each other, or `config.out` holds another run.
        ChildProcessError: workers keep dying; what was finished is kept.
        OSError: an episode cannot be written; those before it are kept.
    """
    [summary] = rollouts([config], on_progress, backend)
    return summary


def rollouts(
    configs: Sequence[RolloutConfig],
    on_progress: OnProgress = lambda episodes: None,
    backend: Backend | None = None,
    alone: Callable[[RolloutConfig], Path] = lambda config: config.out / "alone",
) -> list[Summary]:
    """As `rollout`, for several runs whose episodes are dealt out together; all are checked before any is run.

    Args:
        configs: what to run.
        on_progress: told how many episodes of all are finished.
        backend: who runs them; this process by default.
        alone: where the latencies of a run with one environment at a time are kept.
    """
    here = InProcess()
    try:
        runs = [_Run(config, here.workplace) for config in configs]
        _run_missing(runs, backend or here, here, on_progress)
        return [run.sum_up(None if backend is None else alone(run.config), here) for run in runs]
    finally:
        here.workplace.close()


def _run_missing(runs: "Sequence[_Run]", backend: Backend, here: Backend, on_progress: OnProgress) -> None:
    jobs = {job: run for run in runs for job in run.missing()}
    done = sum(run.config.episodes for run in runs) - sum(len(job.seeds) for job in jobs)
    on_progress(done)
    # A clock that measures wants the machine to itself.
    timed = [job for job in jobs if job.config.clock.kind == "measured"]
    for who, what in ((backend, [job for job in jobs if job not in timed]), (here, timed)):
        for job, episode in who.run(what):
            jobs[job].directory.add(episode)
            done += 1
            on_progress(done)


class _Run:
    """One run and its directory.

    Args:
        config: what to run.
        workplace: loads the policy.

    Raises:
        ValueError: as `rollout`.
    """

    def __init__(self, config: RolloutConfig, workplace: Workplace):
        config.check()
        self.config, _ = config.settled()
        self._sha256 = read_info(config.checkpoint_path).model_sha256
        policy = workplace.policy(self.config, self._sha256)
        self._convention = policy.spec.action_convention
        self._identity = self.config.identity(policy, self._sha256)
        self.directory = RunDirectory(config.out)
        self.directory.open(self._identity)

    def missing(self) -> list[Job]:
        """The groups of which an episode is missing; they are run as a whole, for what is computed together matters."""
        finished = self.directory.seeds()
        return [Job(self.config, seeds, self._sha256) for seeds in self.config.groups if not finished.issuperset(seeds)]

    def sum_up(self, alone: Path | None, here: InProcess) -> Summary:
        """Writes tables and summary of what is finished; for its latencies a robot alone is run first, where none was."""
        episodes = self.directory.episodes(self.config.seeds)
        self.directory.write_tables(episodes, self._convention)
        by_itself = episodes if alone is None and self.config.envs == 1 else self._alone(alone, here)
        write_parquet(steps_table(by_itself), self.config.out / "alone.parquet")
        summary = summarise(self._identity, self._convention, self.config.checkpoint_path.name, episodes, by_itself)
        summary.write(self.config.out / "summary.json")
        return summary

    def _alone(self, out: Path | None, here: InProcess) -> list[Episode]:
        run = _Run(self.config.alone(out or self.config.out / "alone"), here.workplace)
        _run_missing([run], here, here, lambda episodes: None)
        return run.directory.episodes(run.config.seeds)

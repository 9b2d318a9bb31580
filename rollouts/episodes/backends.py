"""Backends that run episodes: this process, local worker processes, or a Ray cluster. Results do not depend on the choice.

A job is one group of episodes, computed together by one process; it contains all settings that its results depend on. If a
process dies, only its current jobs are lost, and they run again.
"""

import os
import socket
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any, Protocol

from paradp.policy import devices
from paradp.policy.wording import counted, in_a_clone
from paradp.rollouts.episodes.config import RolloutConfig
from paradp.rollouts.episodes.group_runner import GroupRunner
from paradp.rollouts.episodes.records import Episode
from paradp.rollouts.episodes.runner import Subscriber
from paradp.rollouts.machine import versions
from paradp.rollouts.workers import Workers, check_workers, stopping

# How often a job is started if its workers keep dying.
ATTEMPTS = 3
# Ray's name for a Ray that is started here. Without it Ray would join whatever cluster was started last on this machine.
OWN_RAY = "local"
# If it is 0 when Ray is imported, Ray's servers listen on loopback, as on Windows and macOS. By default they
# listen on all addresses, and anyone who reaches them can execute code.
_CLUSTERS = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"


@dataclass(frozen=True)
class Job:
    """A group of episodes of one run, with the required hash of the weights and the required package versions."""

    config: RolloutConfig
    seeds: range
    sha256: str
    versions: tuple[tuple[str, str], ...]


Finished = tuple[Job, list[Episode]]


class EpisodeBackend(Protocol):
    """Runs jobs."""

    def run(self, jobs: Sequence[Job]) -> Generator[Finished, None, None]:
        """Yields each job with its episodes when it is finished, in any order.

        Raises:
            ValueError: a worker has other weights or package versions than the job requires.
            ChildProcessError: workers keep dying.
        """
        ...


class ThisProcess:
    """Runs the jobs in this process, sequentially.

    Args:
        runner: runs the groups; the caller closes it.
        subscribers: called for every step and every episode.
    """

    def __init__(self, runner: GroupRunner | None = None, subscribers: Sequence[Subscriber] = ()) -> None:
        self._runner = runner or GroupRunner()
        self._subscribers = subscribers

    def run(self, jobs: Sequence[Job]) -> Generator[Finished, None, None]:
        for job in jobs:
            yield job, list(self._runner.run(job.config, job.seeds, job.sha256, self._subscribers))


class LocalProcesses:
    """Worker processes on this machine. If one dies all are restarted, because the pool does not report whose job failed.

    Args:
        workers: number of processes.

    Raises:
        ValueError: `workers` is less than 1.
    """

    def __init__(self, workers: int):
        check_workers(workers)
        self._workers = workers

    def run(self, jobs: Sequence[Job]) -> Generator[Finished, None, None]:
        tries = dict.fromkeys(jobs, 0)
        while tries:
            with Workers(min(self._workers, len(tries))) as pool:
                try:
                    running = {pool.submit(_run_job, job): job for job in tries}
                    for job, episodes in _finished(running):
                        del tries[job]
                        yield job, episodes
                except BrokenProcessPool:
                    for job in list(tries)[: self._workers]:  # those that had started
                        tries[job] += 1
            if given_up := [job for job, n in tries.items() if n >= ATTEMPTS]:
                raise _dying(given_up[0])


class RayCluster:
    """Workers of a Ray cluster, each with as many cores as its job has threads. Every node needs paradp installed.

    Args:
        address: address of the cluster; by default `RAY_ADDRESS`, otherwise a new Ray on this machine that only accepts
            connections from this machine.

    Raises:
        ValueError: Ray is not installed, or the cluster cannot be reached.
    """

    def __init__(self, address: str | None = None):
        address = address or os.environ.get("RAY_ADDRESS") or OWN_RAY
        if address == OWN_RAY:
            os.environ[_CLUSTERS] = "0"
        try:
            import ray
        except ModuleNotFoundError as error:
            raise ValueError(f"the backend `ray` needs Ray: {in_a_clone('ray')}") from error
        self._ray = ray
        try:
            if address != OWN_RAY:
                _knock(address)
            dashboard = False if address == OWN_RAY else None
            ray.init(address, include_dashboard=dashboard, log_to_driver=False, logging_level="ERROR")
        except (OSError, RuntimeError, ValueError) as error:
            raise ValueError(f"no Ray cluster can be reached at {address}: {error}") from error
        if address == OWN_RAY and not ip_address(ray.util.get_node_ip_address()).is_loopback:
            ray.shutdown()
            raise ValueError(f"Ray was imported before and would listen to other machines: set {_CLUSTERS}=0 first")

    def check(self, configs: Iterable[RolloutConfig]) -> None:
        """Checks that some node has enough resources for each run. Ray itself would wait forever, without a message.

        Raises:
            ValueError: a run needs more than any node has.
        """
        nodes = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        for cpus, gpus in {tuple(_needs(config).values()) for config in configs}:
            if not any(node.get("CPU", 0) >= cpus and node.get("GPU", 0) >= gpus for node in nodes):
                nodes_have = "; ".join(_counted(node.get("CPU", 0), node.get("GPU", 0)) for node in nodes)
                raise ValueError(
                    f"each of Ray's workers needs {_counted(cpus, gpus, ' (--threads)', ' (--device)')}; no node has so"
                    f" many: they have {nodes_have}"
                )

    def run(self, jobs: Sequence[Job]) -> Generator[Finished, None, None]:
        from ray.exceptions import RayError, RayTaskError

        self.check(job.config for job in jobs)
        # Ray itself runs a job again whose worker or node was lost.
        remote = self._ray.remote(max_retries=ATTEMPTS - 1)(_run_job)
        running = {remote.options(**_needs(job.config)).remote(job): job for job in jobs}
        while running:
            [done], _ = self._ray.wait(list(running))
            job = running.pop(done)
            try:
                yield job, self._ray.get(done)
            except RayTaskError as error:
                if isinstance(error.cause, ImportError):
                    raise ValueError(f"a node cannot run episodes: {error.cause}; install the same paradp there") from error
                raise error.cause from None
            except RayError as error:
                raise _dying(job) from error


def _knock(address: str, seconds: float = 5) -> None:
    """Raises an OSError if there is no server; Ray itself would retry for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if port.isdigit():
        socket.create_connection((host, int(port)), seconds).close()


def _needs(config: RolloutConfig) -> dict[str, int]:
    return {"num_cpus": config.threads or 1, "num_gpus": devices.gpus(config.device)}


def _counted(cpus: float, gpus: float, threads: str = "", device: str = "") -> str:
    return f"{counted(int(cpus), 'CPU')}{threads} and {counted(int(gpus), 'GPU')}{device}"


def _dying(job: Job) -> ChildProcessError:
    seeds = f"seeds {job.seeds.start} to {job.seeds.stop - 1} of {job.config.out}"
    return ChildProcessError(
        f"workers keep dying, {ATTEMPTS} times at or near {seeds}; finished work is kept: run the same command again to"
        " continue"
    )


def _finished(running: dict["Future[list[Episode]]", Job]) -> Iterator[Finished]:
    """The jobs of futures as they end."""
    waiting: Iterable[Any] = set(running)
    while waiting:
        done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
        for future in done:
            yield running[future], future.result()


# Used if this process is a worker.
_runner = GroupRunner()


def _run_job(job: Job) -> list[Episode]:
    here = versions(name for name, _ in job.versions)
    if others := [f"{name} {wanted}, here {here.get(name)}" for name, wanted in job.versions if here.get(name) != wanted]:
        raise ValueError(f"a worker has other package versions than the run: {'; '.join(others)}")
    episodes = []
    for episode in _runner.run(job.config, job.seeds, job.sha256):
        if stopping():
            break  # the remaining episodes are not needed
        episodes.append(episode)
    return episodes

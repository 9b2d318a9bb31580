"""A simulated robot that does not wait: it runs in a separate process, in wall-clock time like a real one."""

import time
from collections.abc import Iterator
from multiprocessing.connection import Connection

import numpy as np

from paradp.envs import find_task
from paradp.policy.processes import end_with_parent, spare_garbage_collection, spawning
from paradp.rollouts.episodes.environments import EnvironmentConfig, has_succeeded
from paradp.rollouts.realtime.reports import TickReport
from paradp.sampler.lookup import renamed_arguments

# A command that has not arrived after this share of a control step is too late: the simulator needs the rest.
COMMAND_SHARE = 0.5
# Time limit for building the simulator, and for setting up the scene of an episode.
PATIENCE_SECONDS = 120.0
DEAD = "the robot's process has died"


@renamed_arguments(scenery="environment")
class SimulatedRobot:
    """Steps a simulator at the control rate in wall-clock time. A late command is replaced by the last one.

    Episodes follow each other; simulated time stops while a scene is set up, until its first command.

    Args:
        environment: settings of the environment.
        seed: seed of the first episode; the next ones count up.

    Attributes:
        period: seconds of a control step.
    """

    def __init__(self, environment: EnvironmentConfig, seed: int):
        self.period = _period(environment)
        context = spawning()
        self._pipe, there = context.Pipe()
        self._process = context.Process(target=_live, args=(there, environment, seed), daemon=True)
        self._process.start()
        there.close()

    def reports(self) -> Iterator[TickReport]:
        """Yields a report for each control step; if several are waiting, only the newest.

        Raises:
            ConnectionError: the robot's process has died, or sends nothing.
        """
        while True:
            try:
                report = self._pipe.recv() if self._pipe.poll(PATIENCE_SECONDS) else None
                while report is not None and not (report.began or report.ended) and self._pipe.poll():
                    report = self._pipe.recv()
            except (EOFError, OSError) as error:
                raise ConnectionError(DEAD) from error
            if report is None:
                raise ConnectionError(f"the robot has sent nothing for {PATIENCE_SECONDS:.0f} s")
            yield report

    def command(self, tick: int, action: np.ndarray) -> None:
        """Sends the robot the command for a control step.

        Raises:
            ConnectionError: its process has died.
        """
        try:
            self._pipe.send((tick, action))
        except OSError as error:
            raise ConnectionError(DEAD) from error

    def close(self) -> None:
        """Ends the robot."""
        self._process.terminate()
        self._process.join()
        self._pipe.close()


def _period(environment: EnvironmentConfig) -> float:
    return 1 / find_task(environment.task).task.control_hz


def _live(pipe: Connection, environment: EnvironmentConfig, seed: int) -> None:
    end_with_parent()
    env = environment.make()
    spare_garbage_collection()
    tick = missed = 0
    try:
        while True:
            tick, missed = _live_episode(pipe, env, _period(environment), seed, tick, missed)
            seed += 1
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return


def _live_episode(pipe: Connection, env, period: float, seed: int, tick: int, missed: int) -> tuple[int, int]:
    """Runs one episode; returns the index of the next episode's first control step, and the number of missed ones."""
    observation, _ = env.reset(seed=seed)
    pipe.send(TickReport(tick, seed, True, observation, time.perf_counter(), missed=missed))
    action = _command(pipe, tick, time.perf_counter() + PATIENCE_SECONDS)
    if action is None:
        raise EOFError("nobody commands the robot")
    due, done = time.perf_counter() + period, tick
    success = ended = False
    while True:
        observation, _, terminated, truncated, info = env.step(action)
        success, ended, tick = success or has_succeeded(info), terminated or truncated, tick + 1
        now = _sleep_until(due)
        pipe.send(TickReport(tick, seed, False, observation, now, now - due, missed, done, success, ended))
        if ended:
            return tick + 1, missed
        received = _command(pipe, tick, now + COMMAND_SHARE * period)
        if received is None:
            missed += 1
        else:
            action, done = received, tick
        # A late step is not made up for.
        due = max(due, now) + period


def _command(pipe: Connection, tick: int, until: float) -> np.ndarray | None:
    """Returns the command for a control step if it arrives in time; drops commands for earlier steps."""
    while pipe.poll(max(until - time.perf_counter(), 0.0)):
        for_tick, action = pipe.recv()
        if for_tick == tick:
            return action
    return None


def _sleep_until(due: float) -> float:
    """Sleeps until a time; returns the time afterwards."""
    if (left := due - time.perf_counter()) > 0:
        time.sleep(left)
    return time.perf_counter()

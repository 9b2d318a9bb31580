"""The interface of a robot in a control loop that does not wait for its commands."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from paradp.policy.observations import Observation


@dataclass(frozen=True)
class TickReport:
    """A robot's report at the start of a control step.

    Attributes:
        tick: index of the control step, from 0.
        seed: seed of the episode.
        began: whether the episode starts with this control step.
        observation: the observation.
        at: its time by `time.perf_counter`, which on Linux is the same clock for all processes of a machine.
        late: seconds by which the control step starts too late.
        missed: number of control steps so far without a command in time, in which the last one was executed again.
        done: the latest control step whose own command was executed; -1 before the first.
        success: whether the task's success rule has held in this episode.
        ended: the episode is over, and this control step needs no command.
    """

    tick: int
    seed: int
    began: bool
    observation: Observation
    at: float
    late: float = 0.0
    missed: int = 0
    done: int = -1
    success: bool = False
    ended: bool = False


class Robot(Protocol):
    """A robot for `drive`: it runs in wall-clock time, and repeats its last command if the next one is late.

    Attributes:
        period: seconds of a control step.
    """

    @property
    def period(self) -> float: ...

    def reports(self) -> Iterator[TickReport]:
        """Yields a report for each control step; if several are waiting, only the newest.

        Raises:
            ConnectionError: the robot has failed, or sends nothing.
        """
        ...

    def command(self, tick: int, action: np.ndarray) -> None:
        """Sends the robot the command for a control step.

        Raises:
            ConnectionError: the robot has failed.
        """
        ...

    def close(self) -> None:
        """Ends the robot. It may be called at any time, also after a failure."""
        ...

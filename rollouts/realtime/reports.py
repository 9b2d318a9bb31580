"""What a robot in a control loop says and takes: any robot that does not wait for its commands."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from paradp.policy.observations import Observation


@dataclass(frozen=True)
class TickReport:
    """What a robot says as a control step begins.

    Attributes:
        tick: the control step, counted from 0.
        seed: of the episode.
        began: whether the episode begins with this control step.
        observation: what is seen.
        at: when, as `time.perf_counter` says, which is one clock for all processes of a machine on Linux.
        late: seconds by which the control step begins too late.
        missed: control steps so far that had no command in time, so that the last one was carried out again.
        done: the latest control step whose own command was carried out; -1 before the first.
        success: the task's own rule has held in this episode.
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
    """A robot for `drive`: it goes on by the wall clock, and repeats its command if the next one is late.

    Attributes:
        period: seconds of a control step.
    """

    @property
    def period(self) -> float: ...

    def reports(self) -> Iterator[TickReport]:
        """What the robot says, a report for every control step; of several that wait, the newest.

        Raises:
            ConnectionError: the robot has failed, or says nothing.
        """
        ...

    def command(self, tick: int, action: np.ndarray) -> None:
        """Tells the robot what to do in a control step.

        Raises:
            ConnectionError: the robot has failed.
        """
        ...

    def close(self) -> None:
        """Ends the robot. It may be called at any time, also after a failure."""
        ...

"""Records of control steps and episodes."""

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from pydantic import Field

from paradp.envs import find_convention
from paradp.policy import PolicySpec, Replan
from paradp.rollouts.episodes.plan_record import Flat


@dataclass(frozen=True)
class StepRecord:
    """One control step of one environment.

    Attributes:
        step: index in the episode, from 0.
        reward: of this step.
        success: whether the task's success rule holds after this step.
        seconds: wall-clock time of the controller, shared with all environments that acted together.
        replan: the cost of the plan, if one was made in this step.
        action: the command to the robot.
        held: there was no action to execute, so the robot was commanded to hold.
        began: when the controller was called, by `time.perf_counter`; 0 if unknown.
        simulation: wall-clock seconds of the simulator's step, shared with all environments of the batch; 0 if unknown.
    """

    step: int
    reward: float
    success: bool
    seconds: float
    replan: Annotated[Replan, Flat] | None
    action: tuple[float, ...] = ()
    held: bool = False
    began: float = 0.0
    simulation: float = 0.0


@dataclass(frozen=True)
class Episode:
    """One episode.

    Attributes:
        seed: seed of the environment and of the policy's noise.
        reward: the maximum over its steps.
        success: the task's own rule held at any step.
        started: seconds since the epoch. A process reads the date once and then counts, so that differences are exact even
            if the machine's clock is set meanwhile.
        seconds: wall-clock time from reset to end; other environments of the batch take their share of it, subscribers
            (films) do not.
        steps: every control step.
        disturbed: whether a disturbance has acted.
    """

    seed: int
    reward: float
    success: bool
    started: float
    seconds: Annotated[float, Field(gt=0)]
    steps: list[StepRecord]
    disturbed: bool = False


def jerk(episode: Episode, spec: PolicySpec) -> float:
    """The roughness of the commands: root mean square of the third derivative of the commanded path.

    In the unit of the action convention per s³, such as m/s³; 0 for an episode of fewer than four steps.
    """
    path = find_convention(spec.action_convention).path(np.array([step.action for step in episode.steps]))
    third = np.diff(path, 3, axis=0) * spec.control_hz**3
    return float(np.sqrt((third**2).sum(1).mean())) if len(third) else 0.0

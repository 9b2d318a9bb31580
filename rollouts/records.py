"""What a control step and an episode leave behind."""

from dataclasses import dataclass

from paradp.policy import Replan


@dataclass(frozen=True)
class StepRecord:
    """One control step of one environment.

    Attributes:
        step: counted from 0 in its episode.
        reward: of this step.
        success: the task's own rule, after this step.
        seconds: wall-clock time of the controller, shared with all environments that acted together.
        replan: what the plan took, if this step began with one.
    """

    step: int
    reward: float
    success: bool
    seconds: float
    replan: Replan | None


@dataclass(frozen=True)
class Episode:
    """One episode.

    Attributes:
        seed: of the environment and of the policy's noise.
        reward: the maximum over its steps.
        success: the task's own rule held at any step.
        started: when, in seconds since the epoch.
        seconds: wall-clock time from reset to end; other environments of the batch take their share of it, subscribers
            (films) do not.
        steps: every control step.
    """

    seed: int
    reward: float
    success: bool
    started: float
    seconds: float
    steps: list[StepRecord]

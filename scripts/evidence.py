"""What so many episodes can show, and what they cannot."""

from collections.abc import Sequence
from pathlib import Path

from paradp.policy.wording import counted
from paradp.rollouts.evaluation.comparison import ComparedRun, Comparison
from paradp.rollouts.statistics import detectable_difference

# The episodes of `paradp evaluate`, unless told otherwise.
ENOUGH = 200


def evidence(comparison: Comparison, checkpoint: Path | str | None = None) -> str | None:
    """What the episodes of a comparison say of success, and what they leave open; `None` where they are `ENOUGH`.

    Args:
        comparison: finished runs.
        checkpoint: as given on the command line, unless the policy is the task's own.
    """
    first, *others = comparison.runs
    episodes = min(run.summary.episodes for run in comparison.runs)
    if episodes >= ENOUGH:
        return None
    low = min(run.summary.success.ci95[0] for run in comparison.runs)
    high = max(run.summary.success.ci95[1] for run in comparison.runs)
    whose = "every sampler" if others else "the policy"
    can = (
        f"{counted(episodes, 'episode')} can show how long plans take, and that {whose} succeeds in"
        f" {100 * low:.0f} % to {100 * high:.0f} % of episodes (95 %)."
    )
    if not others:
        return f"{can} For a closer figure: --episodes {ENOUGH}."
    samplers = ",".join(run.label for run in comparison.runs)
    weights = f" --checkpoint {checkpoint}" if checkpoint else ""
    return (
        f"{can} They cannot tell the samplers' success apart: {_would_show(others, episodes)}; {ENOUGH} would show"
        f" {100 * _detectable(others, ENOUGH):.0f} %: paradp evaluate {first.summary.task} --samplers {samplers}{weights}"
    )


def _would_show(others: Sequence[ComparedRun], episodes: int) -> str:
    try:
        return f"only a loss of {100 * _detectable(others, episodes):.0f} % or more would have shown"
    except ValueError:
        return "no loss would have shown"


def _detectable(others: Sequence[ComparedRun], pairs: int) -> float:
    """The loss that so many pairs show with 80 % power, where samplers disagree as often as these do at most.

    Raises:
        ValueError: the pairs are too few to show any.
    """
    losses = [run.loss for run in others if run.loss]
    return detectable_difference(pairs, max((loss.lost + loss.won) / loss.pairs for loss in losses))

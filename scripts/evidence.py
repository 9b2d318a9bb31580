"""Says what a number of episodes can show about success, and what not."""

from collections.abc import Sequence
from pathlib import Path

from paradp.policy.wording import counted
from paradp.rollouts.evaluation.comparison import ComparedRun, Comparison
from paradp.rollouts.statistics import detectable_difference

# The default number of episodes of `paradp evaluate`.
ENOUGH = 200


def evidence(comparison: Comparison, checkpoint: Path | str | None = None) -> str | None:
    """A sentence on what a comparison can show with its episodes; `None` if there are at least `ENOUGH`.

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
        f"{can} With {counted(episodes, 'episode')} {_is_detectable(others, episodes)}. With {ENOUGH}, a loss of"
        f" {100 * _detectable(others, ENOUGH):.0f} % or more is: `paradp evaluate {first.summary.task}"
        f" --samplers {samplers}{weights}`"
    )


def _is_detectable(others: Sequence[ComparedRun], episodes: int) -> str:
    try:
        return f"only a loss of success of {100 * _detectable(others, episodes):.0f} % or more is detectable"
    except ValueError:
        return "no difference in success is detectable"


def _detectable(others: Sequence[ComparedRun], pairs: int) -> float:
    """The loss that this many pairs detect with 80 % power, assuming the largest rate of disagreement seen here.

    Raises:
        ValueError: the pairs are too few to detect any loss.
    """
    losses = [run.loss for run in others if run.loss]
    return detectable_difference(pairs, max((loss.lost + loss.won) / loss.pairs for loss in losses))

"""Policies in closed loop.

episodes/     the loop, its records and films, runs that resume, and who computes them
evaluation/   many runs and many plans compared
realtime/     the loop by the wall clock
imports/      demonstrations that others recorded

and in the files beside them the collection of demonstrations, and what all share.
"""

from typing import TYPE_CHECKING

from paradp.sampler.lazy import lazy_exports

if TYPE_CHECKING:
    from paradp.rollouts.episodes.config import RolloutConfig
    from paradp.rollouts.episodes.records import Episode, StepRecord
    from paradp.rollouts.episodes.run import rollout, rollouts
    from paradp.rollouts.episodes.runner import Subscriber, run_episodes
    from paradp.rollouts.episodes.summary import Summary
else:
    __getattr__, __dir__, __all__ = lazy_exports(
        __name__,
        {
            "episodes.config": "RolloutConfig",
            "episodes.records": "Episode StepRecord",
            "episodes.run": "rollout rollouts",
            "episodes.runner": "Subscriber run_episodes",
            "episodes.summary": "Summary",
        },
    )

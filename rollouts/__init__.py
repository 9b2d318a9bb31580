"""Closed-loop rollouts, evaluation and real-time control.

episodes/     the control loop, records, videos, resumable runs, and the backends that run episodes
evaluation/   comparison of runs and of plans
realtime/     the control loop in wall-clock time
imports/      demonstrations recorded with other programs

The files in this folder collect demonstrations, and contain code that all parts share.
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

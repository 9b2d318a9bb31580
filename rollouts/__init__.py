"""The closed loop: episodes, records, runs that resume, metrics, collection of demonstrations."""

from typing import TYPE_CHECKING

from paradp.sampler.lazy import lazy_exports

if TYPE_CHECKING:
    from paradp.rollouts.config import RolloutConfig
    from paradp.rollouts.records import Episode, StepRecord
    from paradp.rollouts.run import rollout, rollouts
    from paradp.rollouts.runner import Subscriber, run_episodes
    from paradp.rollouts.summary import Summary
else:
    __getattr__, __dir__, __all__ = lazy_exports(
        __name__,
        {
            "config": "RolloutConfig",
            "records": "Episode StepRecord",
            "run": "rollout rollouts",
            "runner": "Subscriber run_episodes",
            "summary": "Summary",
        },
    )

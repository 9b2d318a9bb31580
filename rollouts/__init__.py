"""The closed loop: episodes, records, runs that resume, metrics, collection of demonstrations."""

from paradp.rollouts.records import Episode, StepRecord
from paradp.rollouts.run import RolloutConfig, rollout
from paradp.rollouts.runner import Subscriber, run_episodes
from paradp.rollouts.summary import Summary

__all__ = ["Episode", "RolloutConfig", "StepRecord", "Subscriber", "Summary", "rollout", "run_episodes"]

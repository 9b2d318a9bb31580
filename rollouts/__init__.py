"""The closed loop: episodes, records, runs that resume, metrics, collection of demonstrations."""

from paradp.rollouts.config import RolloutConfig
from paradp.rollouts.records import Episode, StepRecord
from paradp.rollouts.run import rollout, rollouts
from paradp.rollouts.runner import Subscriber, run_episodes
from paradp.rollouts.summary import Summary

__all__ = ["Episode", "RolloutConfig", "StepRecord", "Subscriber", "Summary", "rollout", "rollouts", "run_episodes"]

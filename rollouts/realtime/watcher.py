"""Records the timings of a control loop and the outcomes of its episodes."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from paradp.rollouts.episodes.records import Episode, StepRecord
from paradp.rollouts.realtime.timeline import LOOP, ROBOT, Timeline


@dataclass
class Watcher:
    """A `Subscriber` that records timings. Environments that act together share their time, which is recorded once.

    Attributes:
        period: seconds of a control step.
        on_change: called after every control step and every episode.
        timeline: the times of everything in the loop.
        steps, held: control steps of all environments, and those in which a robot held still because it had no action.
        over: control steps in which the controller took longer than a control period: missed deadlines of a real robot
            that waits for its controller.
        plans, unconverged: chunks, and those that ended before they had converged.
        episodes, successes: episodes that ended, and those that succeeded.
    """

    period: float
    on_change: Callable[[], None] = lambda: None
    timeline: Timeline = field(default_factory=Timeline)
    steps: int = 0
    held: int = 0
    over: int = 0
    plans: int = 0
    unconverged: int = 0
    episodes: int = 0
    successes: int = 0
    _tick: int = -1
    _began: float = -1.0
    _planned: bool = False

    def on_step(self, seed: int, record: StepRecord, render: Callable[[], np.ndarray]) -> None:
        if record.began != self._began:
            self._note_together(record)
        if record.replan is not None:
            stats = record.replan.stats
            self.plans += 1
            self.unconverged += not stats.converged
            if not self._planned:
                self.timeline.add_plan(self._tick, stats, record.began + record.seconds)
                self._planned = True
        self.steps += 1
        self.held += record.held
        self.on_change()

    def on_episode(self, episode: Episode) -> None:
        self.episodes += 1
        self.successes += episode.success
        self.on_change()

    def _note_together(self, record: StepRecord) -> None:
        """Records the times that all environments of the batch share."""
        self._tick, self._began, self._planned = self._tick + 1, record.began, False
        self.over += record.seconds > self.period
        self.timeline.add("act", LOOP, self._tick, record.began, record.seconds)
        self.timeline.add("simulate", ROBOT, self._tick, record.began + record.seconds, record.simulation)

"""The watcher of a loop counts what happened, and counts times that environments share only once."""

import numpy as np
import pytest

from paradp.policy import Replan
from paradp.policy.plan_stats import PlanStats, PlanTiming
from paradp.rollouts import Episode, StepRecord
from paradp.rollouts.realtime.watcher import Watcher


def record(step: int, began: float, seconds: float = 0.01, replan: Replan | None = None, held: bool = False) -> StepRecord:
    return StepRecord(step, 0.0, False, seconds, replan, (0.0,), held, began, 0.004)


def test_environments_that_act_together_count_their_time_once():
    timing = PlanTiming(0.2, 0.01, 0.18, 0.01)
    plan, unfinished = (Replan(PlanStats(timing, 2, 30, 90, *ended)) for ended in ((0.0, True), (0.5, False)))
    changes = []
    watcher = Watcher(0.05, lambda: changes.append(1))
    for began, replans, seconds in ((1.0, (plan, unfinished), 0.21), (2.0, (None, None), 0.001), (3.0, (None, plan), 0.21)):
        for replan in replans:
            watcher.on_step(0, record(0, began, seconds, replan, held=began == 2.0), lambda: np.zeros((1, 1, 3)))
    watcher.on_episode(Episode(0, 1.0, True, 0.0, 1.0, []))
    assert (watcher.steps, watcher.held, watcher.over, watcher.plans, watcher.unconverged) == (6, 2, 2, 3, 1)
    assert (watcher.episodes, watcher.successes, len(changes)) == (1, 1, 7)
    times = watcher.timeline.distributions()
    assert {name: d.count for name, d in times.items()} == {"act": 3, "simulate": 3, "encode": 2, "denoise": 2, "decode": 2}
    spans = {(span.name, span.tick): span for span in watcher.timeline.spans}
    # A plan ends with the controller, and the simulator begins there.
    assert spans["decode", 2].began + spans["decode", 2].seconds == pytest.approx(spans["simulate", 2].began)

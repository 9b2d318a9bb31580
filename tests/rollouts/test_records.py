"""Numbers computed from an episode's records."""

from dataclasses import replace

import numpy as np
import pytest

from paradp.checkpoints import find_checkpoint, read_info
from paradp.policy import Replan
from paradp.policy.plan_stats import PlanStats, PlanTiming
from paradp.rollouts.episodes.records import Episode, StepRecord, jerk
from paradp.rollouts.episodes.summary import latency


@pytest.fixture(scope="module")
def square():
    return read_info(find_checkpoint("square")).spec


def sent_along(path: np.ndarray) -> Episode:
    """An episode whose actions are positions `[T, 3]`."""
    actions = np.concatenate([path, np.zeros((len(path), 7))], axis=1).tolist()
    return Episode(0, 0.0, False, 0.0, 1.0, [StepRecord(i, 0.0, False, 0.0, None, tuple(a)) for i, a in enumerate(actions)])


@pytest.mark.parametrize("hz", [10, 20, 50])
def test_the_jerk_of_a_cubic_is_its_third_derivative(square, hz):
    """x = 2 t³/6 and y = 3 t³/6 metres after t seconds, at any control rate."""
    t = np.arange(12) / hz
    path = np.stack([2 * t**3 / 6, 3 * t**3 / 6, 0.8 + 0.1 * t**2], axis=1)
    assert jerk(sent_along(path), replace(square, control_hz=hz)) == pytest.approx(13**0.5, rel=1e-6)


def test_an_episode_that_is_too_short_has_no_jerk(square):
    assert jerk(sent_along(np.zeros((3, 3))), square) == 0.0


@pytest.mark.parametrize("timing", [PlanTiming(0.5), PlanTiming(0.5, 0.1, 0.3, 0.1)])
def test_stages_that_an_older_version_did_not_measure_are_not_zero(timing):
    plan = Replan(PlanStats(timing, 1, 10, 20, 0.0, True))
    found = latency([Episode(0, 0.0, False, 0.0, 1.0, [StepRecord(0, 0.6, False, 0.0, plan, (0.0,))])])
    assert found.replan.p50 == 500 and (found.encode is None) == (timing.encode == 0) == (found.denoise is None)

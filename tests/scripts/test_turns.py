"""Times measured in turns, and their ratios."""

import numpy as np
import pytest

from paradp.checkpoints import load_policy
from paradp.policy.observations import blank
from paradp.scripts.studies import turns


def test_a_ratio_is_formed_within_a_turn():
    slower, faster = np.array([10.0, 40.0, 90.0, 20.0, 50.0]), np.array([10.0, 20.0, 30.0, 5.0, 10.0])
    ratio = turns.Ratio.of(slower, faster)
    assert (ratio.low, ratio.median, ratio.high) == (2.0, 3.0, 4.0)


def test_all_samplers_plan_in_every_turn_in_a_new_order(monkeypatch):
    policies = [load_policy("lift", sampler, engine="eager") for sampler in ("ddim-2", "ddim-3")]
    planned = []
    for i, policy in enumerate(policies):
        plan = policy.plan
        monkeypatch.setattr(policy, "plan", lambda *a, i=i, plan=plan: planned.append(i) or plan(*a))
    histories = blank(policies[0].spec, 2, policies[0].spec.horizons.observe)
    times = turns.time_in_turns(policies, histories, repeats=2)
    # Each after one that is not timed.
    assert planned[::2] == planned[1::2] == [0, 1, 1, 0, 0, 1] and times.shape == (2, 2) and (times > 0).all()


@pytest.mark.slow
def test_a_sequential_plan_is_computed_row_by_row_beside_any_sampler():
    """An engine compiled for other batch sizes would pad every step."""
    policies = [load_policy("lift", sampler) for sampler in ("ddpm", "para-ddpm")]
    turns.time_in_turns(policies, blank(policies[0].spec, 1, 2), repeats=1)
    assert sorted(policies[0].engine._sizes.compiled) == [1]

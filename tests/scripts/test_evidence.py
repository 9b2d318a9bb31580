from types import SimpleNamespace

import pytest

from paradp.rollouts.statistics import PairedLoss, wilson
from paradp.scripts.evidence import evidence


def comparison(episodes: int, *successes: int, lost: int = 0):
    """A comparison of samplers a, b, … with only the values that the sentence needs."""
    runs = [
        SimpleNamespace(
            label=label,
            summary=SimpleNamespace(task="square", episodes=episodes, success=wilson(good, episodes)),
            loss=PairedLoss(episodes, lost, 0) if i else None,
        )
        for i, (label, good) in enumerate(zip("abc", successes, strict=False))
    ]
    return SimpleNamespace(runs=runs)


def test_ten_episodes_show_that_samplers_work_but_not_which_succeeds_more_often():
    assert evidence(comparison(10, 10, 10)) == (
        "10 episodes can show how long plans take, and that every sampler succeeds in 72 % to 100 % of episodes (95 %)."
        " They cannot show differences in success between the samplers: only a loss of 50 % or more would have shown;"
        " 200 would show 3 %:"
        " paradp evaluate square --samplers a,b"
    )
    assert str(evidence(comparison(10, 10, 10), "runs/own/checkpoint")).endswith(
        "--samplers a,b --checkpoint runs/own/checkpoint"
    )


@pytest.mark.parametrize(("episodes", "lost", "said"), [(1, 0, "no loss"), (2, 1, "no loss"), (20, 0, "a loss of 28 %")])
def test_the_detectable_difference_depends_on_the_number_of_pairs(episodes, lost, said):
    assert f"between the samplers: {'only ' * (said != 'no loss')}{said}" in str(
        evidence(comparison(episodes, episodes, episodes - lost, lost=lost))
    )


def test_one_sampler_or_enough_episodes_need_no_remark():
    assert evidence(comparison(10, 5)) == (
        "10 episodes can show how long plans take, and that the policy succeeds in 24 % to 76 % of episodes (95 %)."
        " For a closer figure: --episodes 200."
    )
    assert evidence(comparison(200, 200, 200)) is None

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
        " With 10 episodes only a loss of success of 50 % or more is detectable. With 200, a loss of 3 % or more is:"
        " `paradp evaluate square --samplers a,b`"
    )
    assert str(evidence(comparison(10, 10, 10), "runs/own/checkpoint")).endswith(
        "--samplers a,b --checkpoint runs/own/checkpoint`"
    )


@pytest.mark.parametrize(
    ("episodes", "lost", "said"),
    [
        (1, 0, "With 1 episode no difference in success is detectable."),
        (2, 1, "With 2 episodes no difference in success is detectable."),
        (20, 0, "With 20 episodes only a loss of success of 28 % or more is detectable."),
    ],
)
def test_the_detectable_difference_depends_on_the_number_of_pairs(episodes, lost, said):
    assert said in str(evidence(comparison(episodes, episodes, episodes - lost, lost=lost)))


def test_one_sampler_or_enough_episodes_need_no_remark():
    assert evidence(comparison(10, 5)) == (
        "10 episodes can show how long plans take, and that the policy succeeds in 24 % to 76 % of episodes (95 %)."
        " For a closer figure: --episodes 200."
    )
    assert evidence(comparison(200, 200, 200)) is None

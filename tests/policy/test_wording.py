"""Counts with singular and plural nouns."""

import pytest

from paradp.policy.wording import counted


@pytest.mark.parametrize(
    ("number", "words", "said"),
    [
        (1, ("episode",), "1 episode"),
        (0, ("episode",), "0 episodes"),
        (3, ("control step",), "3 control steps"),
        (1, ("entry", "entries"), "1 entry"),
        (2, ("entry", "entries"), "2 entries"),
    ],
)
def test_one_is_singular(number, words, said):
    assert counted(number, *words) == said

"""The page of promises names existing tests, and the program that attacks the package can count each fault."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs/reliability.md").read_text()
NAMED = sorted(set(re.findall(r"`(tests/[\w/]+\.py(?:::\w+)?)`", PAGE)))


@pytest.mark.parametrize("named", NAMED)
def test_a_promise_is_held_by_a_test_that_is_there(named):
    path, _, name = named.partition("::")
    assert (ROOT / path).is_file() and f"def {name}" in (ROOT / path).read_text()


def test_the_page_promises_something():
    assert len(NAMED) > 20

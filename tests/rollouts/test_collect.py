"""Collecting demonstrations."""

import pytest

from paradp.policy.data.demonstrations import Demonstrations
from paradp.rollouts import collect as collecting
from paradp.rollouts.collect import collect


def test_an_expert_that_fails_too_often_ends_the_collection_and_keeps_what_it_has(monkeypatch, tmp_path):
    """Six attempts with up to four pending: those that were begun last are kept as well."""
    monkeypatch.setattr(collecting, "MOST_TRIES", 6)
    tried = []
    with pytest.raises(ValueError, match=r"has \d episodes? of 7: the expert failed too often in 6 attempts"):
        collect(
            "pusht", 7, tmp_path / "d.zarr", seed=0, workers=1, on_progress=lambda kept, done: tried.append((kept, done))
        )
    kept = len(Demonstrations.open(tmp_path / "d.zarr"))
    assert kept >= 1 and tried[-1] == (kept, 6)

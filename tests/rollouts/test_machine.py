"""What the machine is said to have is what this process may use of it."""

import os

import pytest

from paradp.rollouts.machine import cores


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        ("max 100000", None),
        ("150000 100000", 2),
        ("50000 100000", 1),
        ("9900000 100000", None),
        ("odd", None),
        ("0 0", None),
    ],
)
def test_a_containers_share_counts(tmp_path, limit, expected):
    (tmp_path / "cpu.max").write_text(f"{limit}\n")
    allowed = len(os.sched_getaffinity(0))
    assert cores(tmp_path) == min(expected or allowed, allowed)


def test_so_does_that_of_older_containers(tmp_path):
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu/cpu.cfs_quota_us").write_text("100000\n")
    (tmp_path / "cpu/cpu.cfs_period_us").write_text("100000\n")
    assert cores(tmp_path) == 1
    (tmp_path / "cpu/cpu.cfs_quota_us").write_text("-1\n")
    assert cores(tmp_path) == cores(tmp_path / "nowhere") == len(os.sched_getaffinity(0))

"""Remarks on vectors whose dimensions share a scale although their ranges differ much."""

import numpy as np

from paradp.policy.data.ranges import range_remarks

ROBOT = [6.0, 5.0, 4.0, 6.0, 3.0, 2.0, 0.08]


def ranging(*ranges: float) -> np.ndarray:
    """Two steps that are this far apart in each dimension."""
    return np.stack([np.zeros(len(ranges)), ranges]).astype(np.float32)


def test_an_unsplit_vector_is_named_with_its_dimensions_ranges_and_remedy():
    [observed, acted] = range_remarks({"qpos": ranging(*ROBOT)}, ranging(*ROBOT), {"action": 7})
    for said in (observed, acted):
        assert "its 7 dimensions share one scale" in said and ": 0.08 in dimension 6, 6 in dimension 0. " in said
    assert observed.startswith("qpos: ") and observed.endswith("observation: {qpos: {joints: 6, gripper: 1}}")
    assert acted.startswith("action: ") and acted.endswith("such as action: {joints: 6, gripper: 1}")


def test_separate_quantities_and_similar_ranges_are_not_remarked_on():
    assert not list(range_remarks({"qpos": ranging(*ROBOT[:6])}, ranging(*ROBOT), {"joints": 6, "gripper": 1}))
    assert not list(range_remarks({"constant": ranging(6, 0, 9e-5)}, ranging(10, 1), {"action": 2}))
    assert not list(range_remarks({"nothing": np.empty((0, 2))}, np.empty((0, 2)), {"action": 2}))
    assert len(list(range_remarks({}, ranging(10, 0.99), {"action": 2}))) == 1


def test_many_narrow_dimensions_are_counted():
    [said] = range_remarks({}, ranging(*[0.5] * 5, 9), {"action": 6})
    assert ": 0.5 in dimension 0, 0.5 in dimension 1, 0.5 in dimension 2 and 2 more, 9 in dimension 5." in said

"""Chunk blending: the weights of the old and the new chunk."""

import numpy as np
import pytest

from paradp.policy.control.blending import blended, soft_mask


def test_a_blend_goes_from_the_old_to_the_new():
    old, new = [np.zeros(1)] * 3, np.full((6, 1), 4.0)
    assert blended(old, new)[:, 0].tolist() == pytest.approx([1, 2, 3, 4, 4, 4])
    assert blended([], new) is new and np.array_equal(new, np.full((6, 1), 4.0))
    assert blended([np.zeros(1)] * 9, new[:2])[:, 0].tolist() == pytest.approx([4 / 3, 8 / 3])


def test_the_mask_keeps_what_will_be_executed_and_fades():
    mask = soft_mask(16, past=1, late=4, left=11)
    assert mask[:5].tolist() == [1] * 5 and mask[12:].tolist() == [0] * 4
    assert (np.diff(mask[4:13]) < 0).all() and 0 < mask[11] < 0.1
    assert soft_mask(16, past=1, late=9, left=3).tolist() == [1] * 4 + [0] * 12
    assert soft_mask(16, past=1, late=0, left=0).tolist() == [1] + [0] * 15


def test_the_mask_is_finite_if_a_chunk_is_later_than_the_old_one_is_long():
    with np.errstate(all="raise"):
        for late in range(20):
            for left in range(16):
                mask = soft_mask(16, past=1, late=late, left=left)
                assert mask[: 1 + min(late, left)].tolist() == [1] * (1 + min(late, left)) and not mask[1 + left :].any()
                assert ((mask >= 0) & (mask <= 1)).all() and (np.diff(mask) <= 0).all()

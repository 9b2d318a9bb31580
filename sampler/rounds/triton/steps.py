"""The arithmetic of one solver step for Triton kernels. A sample of D elements is a vector, padded with zeros to `BLOCK`."""

import triton
import triton.language as tl

from paradp.sampler.table import Column

COLUMNS = tl.constexpr(len(Column))
A, C, R, D = (tl.constexpr(column.value) for column in (Column.A, Column.C, Column.R, Column.D))
SIGMA = tl.constexpr(Column.SIGMA.value)
FROM_STATE, FROM_PREDICTION = tl.constexpr(Column.FROM_STATE.value), tl.constexpr(Column.FROM_PREDICTION.value)


@triton.jit
def clip(value, bound):
    """Clips to ±bound; NaN stays NaN."""
    return tl.where(value > bound, bound, tl.where(value < -bound, -bound, value))


@triton.jit
def predict_clean(step, x, prediction):
    """x̂0 before clipping; `step` points to a row of `StepTable.columns`."""
    return tl.load(step + FROM_STATE) * x + tl.load(step + FROM_PREDICTION) * prediction


@triton.jit
def mean(step, bound, x, clean, before, KEEPS_UNCLIPPED: tl.constexpr, LOOKS_BACK: tl.constexpr):
    """Same as `Steps.mean`."""
    a, c, r, d = tl.load(step + A), tl.load(step + C), tl.load(step + R), tl.load(step + D)
    return combine(a, c, r, d, bound, x, clean, before, KEEPS_UNCLIPPED, LOOKS_BACK)


@triton.jit
def combine(a, c, r, d, bound, x, clean, before, KEEPS_UNCLIPPED: tl.constexpr, LOOKS_BACK: tl.constexpr):
    """`mean` with a step's coefficients as they were loaded."""
    found = a * x + c * clip(clean, bound)
    if KEEPS_UNCLIPPED:
        found += r * clean
    if LOOKS_BACK:
        found += d * clip(before, bound)
    return found


@triton.jit
def push(step, bound, clean, before, noise, KEEPS_UNCLIPPED: tl.constexpr, LOOKS_BACK: tl.constexpr):
    """Same as `Steps.push`."""
    found = tl.load(step + C) * clip(clean, bound) + tl.load(step + SIGMA) * noise
    if KEEPS_UNCLIPPED:
        found += tl.load(step + R) * clean
    if LOOKS_BACK:
        found += tl.load(step + D) * clip(before, bound)
    return found


@triton.jit
def difference(
    step, bound, one, other, one_before, other_before, KEEPS_UNCLIPPED: tl.constexpr, LOOKS_BACK: tl.constexpr
):  # fmt: skip
    """Same as `Steps.difference`."""
    apart = tl.load(step + C) * (clip(one, bound) - clip(other, bound))
    if KEEPS_UNCLIPPED:
        apart += tl.load(step + R) * (one - other)
    if LOOKS_BACK:
        apart += tl.load(step + D) * (clip(one_before, bound) - clip(other_before, bound))
    return apart


@triton.jit
def window_end(first, reached, steps, width, ahead):
    """The first step after a window."""
    return tl.minimum(tl.minimum(first + width, steps), reached + ahead)

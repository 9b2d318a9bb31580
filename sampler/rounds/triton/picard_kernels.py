"""The kernels of Picard iteration; buffers as in `paradp.sampler.rounds.torch.picard`, names as in `speculative_kernels`."""

import triton
import triton.language as tl

from paradp.sampler.rounds.triton.steps import COLUMNS, A, predict_clean, push


@triton.jit
def read(
    timesteps, states, base, furthest, rows, t, steps, width,
    SIZE: tl.constexpr, BLOCK: tl.constexpr, KEEPS_UNCLIPPED: tl.constexpr, LOOKS_BACK: tl.constexpr,
):  # fmt: skip
    """Fills a window's rows, with a program for each row; rows beyond the furthest computed state get that state."""
    b, i = tl.program_id(0).to(tl.int64), tl.program_id(1)
    d = tl.arange(0, BLOCK)
    real = d < SIZE
    k, last = tl.load(base + b) + i, tl.load(furthest + b)
    x = tl.load(states + (b * (steps + 1) + tl.minimum(k, last)) * SIZE + d, real & (k < steps), 0.0)
    tl.store(rows + (b * width + i) * SIZE + d, x, real)
    tl.store(t + b * width + i, tl.load(timesteps + tl.minimum(k, steps - 1)))


@triton.jit
def carry_on(
    table, bound, noise, states, x, held, first, end, d, real,
    SIZE: tl.constexpr, KEEPS_UNCLIPPED: tl.constexpr, LOOKS_BACK: tl.constexpr,
):  # fmt: skip
    """Rolls a state forward with the known noise and a constant prediction, and stores the states on the way."""
    for k in range(first, end):
        step = table + k * COLUMNS
        z = tl.load(noise + k * SIZE + d, real, 0.0)
        x = tl.load(step + A) * x + push(step, bound, held, held, z, KEEPS_UNCLIPPED, LOOKS_BACK)
        tl.store(states + (k + 1) * SIZE + d, x, real)


@triton.jit
def enter(
    table, bounds, states, clean, furthest, noise, steps, width,
    SIZE: tl.constexpr, BLOCK: tl.constexpr, KEEPS_UNCLIPPED: tl.constexpr, LOOKS_BACK: tl.constexpr,
):  # fmt: skip
    """Rolls the first states through the first window, without a prediction."""
    b = tl.program_id(0).to(tl.int64)
    d = tl.arange(0, BLOCK)
    real = d < SIZE
    x = tl.load(states + b * (steps + 1) * SIZE + d, real, 0.0)
    held = tl.load(clean + b * steps * SIZE + d, real, 0.0)
    end = tl.minimum(steps, width)
    carry_on(
        table, tl.load(bounds), noise + b * steps * SIZE, states + b * (steps + 1) * SIZE, x, held, 0, end, d, real, SIZE,
        KEEPS_UNCLIPPED, LOOKS_BACK,
    )  # fmt: skip
    tl.store(furthest + b, tl.zeros((), tl.int64) + end)


# Long: one pass over the window, whose state stays in registers from step to step. A helper would need each value as an
# argument and a result, because it cannot assign to them.
@triton.jit
def iterate(
    table, scale, bounds, tolerance, states, held, base, furthest, rounds, evaluations, residual, noise, rows, predictions,
    steps, width,
    SIZE: tl.constexpr, BLOCK: tl.constexpr, LINEAR: tl.constexpr, ROLLS: tl.constexpr, KEEPS_UNCLIPPED: tl.constexpr,
    LOOKS_BACK: tl.constexpr,
):  # fmt: skip
    """Ends a round: replaces the states after those of the window, and moves the window."""
    b = tl.program_id(0).to(tl.int64)
    d = tl.arange(0, BLOCK)
    real = d < SIZE
    bound, enough = tl.load(bounds), tl.load(tolerance)
    first, last = tl.load(base + b).to(tl.int32), tl.load(furthest + b).to(tl.int32)
    end = tl.minimum(first + width, steps)
    states += b * (steps + 1) * SIZE
    held += b * steps * SIZE
    noise += b * steps * SIZE
    rows += b * width * SIZE
    predictions += b * width * SIZE

    new = tl.load(rows + d, real, 0.0)
    start, drift = new, tl.zeros_like(new)
    clean = tl.load(held + tl.maximum(first - 1, 0) * SIZE + d, real, 0.0)
    largest = tl.load(residual + b)
    settling, settled = first < end, 0
    for k in range(first, end):
        step = table + k * COLUMNS
        row = (k - first) * SIZE + d
        before = clean
        x = tl.load(rows + row, real, 0.0)
        # The earlier guess at the next state: beyond the furthest state, a copy of that one.
        old = tl.where(k < last, tl.load(states + (k + 1) * SIZE + d, real, 0.0), x)
        clean = predict_clean(step, x, tl.load(predictions + row, real, 0.0))
        z = tl.load(noise + k * SIZE + d, real, 0.0)
        pushed = push(step, bound, clean, before, z, KEEPS_UNCLIPPED, LOOKS_BACK)
        if LINEAR:
            new = tl.load(step + A) * new + pushed
        else:
            drift += pushed + (tl.load(step + A) - 1) * x
            new = start + drift
        change = tl.sqrt(tl.sum((new - old) * (new - old)) / SIZE) / tl.load(scale + k + 1)
        settling = settling & (change <= enough)
        settled += settling.to(tl.int32)
        largest = tl.where(settling, tl.maximum(largest, change), largest)
        tl.debug_barrier()  # all threads have read the memory that is overwritten next
        tl.store(held + k * SIZE + d, clean, real)
        tl.store(states + (k + 1) * SIZE + d, new, real)

    if first < end:
        now = tl.minimum(first + settled + 1, end)
        reached = end
        if ROLLS:
            reached = tl.minimum(now + width, steps)
            carry_on(table, bound, noise, states, new, clean, end, reached, d, real, SIZE, KEEPS_UNCLIPPED, LOOKS_BACK)
        tl.store(base + b, now.to(tl.int64))
        tl.store(furthest + b, reached.to(tl.int64))
        tl.store(residual + b, largest)
        tl.store(rounds + b, tl.load(rounds + b) + 1)
        tl.store(evaluations + b, tl.load(evaluations + b) + end - first)


@triton.jit
def complete(
    table, bounds, states, clean, base, noise, samples, steps,
    SIZE: tl.constexpr, BLOCK: tl.constexpr, KEEPS_UNCLIPPED: tl.constexpr, LOOKS_BACK: tl.constexpr,
):  # fmt: skip
    """The samples; unfinished ones are rolled forward from their window's first state."""
    b = tl.program_id(0).to(tl.int64)
    d = tl.arange(0, BLOCK)
    real = d < SIZE
    bound = tl.load(bounds)
    first = tl.load(base + b).to(tl.int32)
    x = tl.load(states + (b * (steps + 1) + first) * SIZE + d, real, 0.0)
    held = tl.load(clean + (b * steps + tl.maximum(first - 1, 0)) * SIZE + d, real, 0.0)
    for k in range(first, steps):
        step = table + k * COLUMNS
        z = tl.load(noise + (b * steps + k) * SIZE + d, real, 0.0)
        x = tl.load(step + A) * x + push(step, bound, held, held, z, KEEPS_UNCLIPPED, LOOKS_BACK)
    tl.store(samples + b * SIZE + d, x, real)

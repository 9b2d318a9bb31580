"""The kernels of speculative rounds: a program for each environment, which walks through its window step by step.

B environments, T steps, windows of p steps, samples of SIZE elements. The buffers are those of
`paradp.sampler.rounds.torch.speculative`; beside them are the window's rows, `[B, p, SIZE]` each: drafts x, guesses there
and the states after them. What one step hands to the next stays in registers.
"""

import triton
import triton.language as tl

from paradp.sampler.rounds.triton.steps import COLUMNS, SIGMA, clip, difference, mean, predict_clean, window_end

# Of what is kept for a step, `Guesses.kept`.
PREDICTION, STATE, MOVED, CHANGED, PARTS = (tl.constexpr(i) for i in range(5))
# The smallest normal number of float32: keeps divisors from 0.
TINY = tl.constexpr(2.0**-126)


@triton.jit
def recall(slope, kept, noise, k, end, known, stands, d, real, SIZE: tl.constexpr):
    """What is known for step k before `end`: D, s, how both changed, J, and the noise; 0 from `end` on.

    It does not depend on the state there, so that it is read a step ahead, while the step before is computed.
    """
    source = tl.maximum(tl.minimum(k, stands - 1), 0)
    own = (source == k) & (k < known)
    inside = real & (k < end)
    memory = kept + source * (PARTS * SIZE) + d
    held = tl.load(memory + PREDICTION * SIZE, inside, 0.0)
    made_at = tl.load(memory + STATE * SIZE, inside, 0.0)
    moved = tl.load(memory + MOVED * SIZE, inside & own, 0.0)
    changed = tl.load(memory + CHANGED * SIZE, inside & own, 0.0)
    follows = tl.load(slope + k, own & (k < end), 0.0)
    return held, made_at, moved, changed, follows, tl.load(noise + k * SIZE + d, inside, 0.0)


@triton.jit
def draft_step(
    step, bound, x, before, held, made_at, moved, changed, follows, z,
    KEEPS_UNCLIPPED: tl.constexpr, LOOKS_BACK: tl.constexpr,
):  # fmt: skip
    """The guess at a step's prediction for a state x there, and the drafted state that follows."""
    away = x - made_at
    # Beyond the last change itself the secant would extrapolate.
    share = clip(tl.sum(moved * away) / tl.maximum(tl.sum(moved * moved), TINY), 1.0)
    guess = held + follows * away + share * (changed - follows * moved)
    # A prediction at a draft far from any exact state may fail to be finite; an exact state must not inherit that.
    guess = tl.where(tl.abs(guess) < float("inf"), guess, 0.0)
    return guess, mean(step, bound, x, guess, before, KEEPS_UNCLIPPED, LOOKS_BACK) + tl.load(step + SIGMA) * z


@triton.jit
def draft(
    table, timesteps, slope, bounds, kept, evaluated, base, exact, noise, rows, t, guesses, following,
    steps, width, ahead,
    SIZE: tl.constexpr, BLOCK: tl.constexpr, FROZEN: tl.constexpr, KEEPS_UNCLIPPED: tl.constexpr, LOOKS_BACK: tl.constexpr,
):  # fmt: skip
    """`Guesses.draft`: fills the rows of every window, and their timesteps; rows that are no steps are 0."""
    b = tl.program_id(0).to(tl.int64)
    d = tl.arange(0, BLOCK)
    real = d < SIZE
    bound = tl.load(bounds)
    first, known = tl.load(base + b).to(tl.int32), tl.load(evaluated + b).to(tl.int32)
    end = window_end(first, known, steps, width, ahead)
    stands = known
    if FROZEN:
        stands = first
    kept += b * steps * (PARTS * SIZE)
    noise += b * steps * SIZE
    t += b * width
    window = b * width * SIZE

    x = tl.load(exact + b * SIZE + d, real, 0.0)
    # The prediction at the exact state before the window: a step is not evaluated again once it is decided.
    before = tl.load(kept + tl.maximum(first - 1, 0) * (PARTS * SIZE) + PREDICTION * SIZE + d, real, 0.0)
    held, made_at, moved, changed, follows, z = recall(slope, kept, noise, first, end, known, stands, d, real, SIZE)
    for k in range(first, end):
        row = window + (k - first) * SIZE + d
        tl.store(t + (k - first), tl.load(timesteps + k))
        tl.store(rows + row, x, real)
        last = held, made_at, moved, changed, follows, z
        held, made_at, moved, changed, follows, z = recall(slope, kept, noise, k + 1, end, known, stands, d, real, SIZE)
        before, x = draft_step(table + k * COLUMNS, bound, x, before, *last, KEEPS_UNCLIPPED, LOOKS_BACK)
        tl.store(guesses + row, before, real)
        tl.store(following + row, x, real)
    for i in range(end - first, width):
        tl.store(t + i, tl.load(timesteps + steps - 1))
        tl.store(rows + window + i * SIZE + d, tl.zeros_like(x), real)


@triton.jit
def made(
    rows, guesses, following, predictions, noise, kept, k, end, known, d, real, SIZE: tl.constexpr, SECANT: tl.constexpr
):  # fmt: skip
    """What a round made of step k before `end`, and what was kept there before; read a step ahead, as by `recall`.

    The first four point to that step's row.
    """
    inside = real & (k < end)
    again = inside & (k < known)
    memory = kept + k * (PARTS * SIZE) + d
    x, guess = tl.load(rows, inside, 0.0), tl.load(guesses, inside, 0.0)
    drafted, prediction = tl.load(following, inside, 0.0), tl.load(predictions, inside, 0.0)
    was, predicted = x, x
    if SECANT:
        was, predicted = tl.load(memory + STATE * SIZE, again, 0.0), tl.load(memory + PREDICTION * SIZE, again, 0.0)
    return x, guess, drafted, prediction, tl.load(noise + k * SIZE + d, inside, 0.0), was, predicted


# Long: one pass over the window that loads the next row before it decides this one, so that loads and sums overlap; all of
# it stays in registers, and a helper would have to take and return every value.
@triton.jit
def settle(
    table, bounds, kept, evaluated, base, rounds, evaluations, exact, noise, log_u, unsound, rows, guesses, following,
    predictions, steps, width, ahead,
    SIZE: tl.constexpr, BLOCK: tl.constexpr, SECANT: tl.constexpr, KEEPS_UNCLIPPED: tl.constexpr, LOOKS_BACK: tl.constexpr,
):  # fmt: skip
    """Ends a round: keeps the predictions, verifies the drafts in order, and moves the windows."""
    b = tl.program_id(0).to(tl.int64)
    d = tl.arange(0, BLOCK)
    real = d < SIZE
    bound = tl.load(bounds)
    first, known = tl.load(base + b).to(tl.int32), tl.load(evaluated + b).to(tl.int32)
    end = window_end(first, known, steps, width, ahead)
    kept += b * steps * (PARTS * SIZE)
    noise += b * steps * SIZE
    log_u += b * steps
    unsound += b * steps
    window = b * width * SIZE

    before = tl.load(kept + tl.maximum(first - 1, 0) * (PARTS * SIZE) + PREDICTION * SIZE + d, real, 0.0)
    guess_before, state = before, tl.zeros_like(before)
    deciding, moved = first < end, 0
    row = window + d
    x, guess, drafted, prediction, z, was, predicted = made(
        rows + row, guesses + row, following + row, predictions + row, noise, kept, first, end, known, d, real, SIZE, SECANT
    )
    for k in range(first, end):
        step = table + k * COLUMNS
        clean = predict_clean(step, x, prediction)
        memory = kept + k * (PARTS * SIZE) + d
        if SECANT:
            tl.debug_barrier()  # all threads have read what is overwritten
            again = k < known
            tl.store(memory + MOVED * SIZE, tl.where(again, x - was, 0.0), real)
            tl.store(memory + CHANGED * SIZE, tl.where(again, clean - predicted, 0.0), real)
        tl.store(memory + STATE * SIZE, x, real)
        tl.store(memory + PREDICTION * SIZE, clean, real)
        # Zero times what is not finite is not a number.
        tl.store(unsound + k, (tl.sum(clean * 0.0) != 0).to(tl.int8))
        here, guess_here, drafted_here, noise_here = x, guess, drafted, z
        row += SIZE
        x, guess, drafted, prediction, z, was, predicted = made(
            rows + row, guesses + row, following + row, predictions + row, noise, kept, k + 1, end, known, d, real, SIZE,
            SECANT,
        )  # fmt: skip
        if deciding:
            sigma = tl.load(step + SIGMA)
            apart = difference(step, bound, guess_here, clean, guess_before, before, KEEPS_UNCLIPPED, LOOKS_BACK)
            delta = apart / tl.where(sigma > 0, sigma, 1.0)
            squared, along = tl.sum(delta * delta), tl.sum(noise_here * delta)
            deciding = (sigma > 0) & (tl.load(log_u + k) <= -along - 0.5 * squared)
            reflected = noise_here - 2 * (along / tl.maximum(squared, TINY)) * delta
            other = mean(step, bound, here, clean, before, KEEPS_UNCLIPPED, LOOKS_BACK) + sigma * reflected
            state = tl.where(deciding, drafted_here, other)
            moved += 1
        before, guess_before = clean, guess_here

    tl.debug_barrier()  # all threads have read where the window stood
    if first < end:
        tl.store(exact + b * SIZE + d, state, real)
        tl.store(base + b, (first + moved).to(tl.int64))
        tl.store(evaluated + b, tl.maximum(known, end).to(tl.int64))
        tl.store(rounds + b, tl.load(rounds + b) + 1)
        tl.store(evaluations + b, tl.load(evaluations + b) + end - first)


@triton.jit
def conclude(
    table, slope, bounds, kept, evaluated, base, rounds, evaluations, exact, noise, unsound, samples, counts, steps, batch,
    SIZE: tl.constexpr, BLOCK: tl.constexpr, STEPS: tl.constexpr, FROZEN: tl.constexpr, KEEPS_UNCLIPPED: tl.constexpr,
    LOOKS_BACK: tl.constexpr, OUT_OF_BUDGET: tl.constexpr, NOT_FINITE: tl.constexpr, CONVERGED: tl.constexpr,
):  # fmt: skip
    """The samples, drafted from each window's exact state where it has not arrived, and the counts of `SolverStats`."""
    b = tl.program_id(0).to(tl.int64)
    d = tl.arange(0, BLOCK)
    real = d < SIZE
    bound = tl.load(bounds)
    first, known = tl.load(base + b).to(tl.int32), tl.load(evaluated + b).to(tl.int32)
    stands = known
    if FROZEN:
        stands = first
    kept += b * steps * (PARTS * SIZE)
    noise += b * steps * SIZE
    x = tl.load(exact + b * SIZE + d, real, 0.0)
    before = tl.load(kept + tl.maximum(first - 1, 0) * (PARTS * SIZE) + PREDICTION * SIZE + d, real, 0.0)
    for k in range(first, steps):
        known_there = recall(slope, kept, noise, k, steps, known, stands, d, real, SIZE)
        before, x = draft_step(table + k * COLUMNS, bound, x, before, *known_there, KEEPS_UNCLIPPED, LOOKS_BACK)
    tl.store(samples + b * SIZE + d, x, real)

    at = tl.arange(0, STEPS)
    wrong = tl.load(unsound + b * steps + at, at < steps, 0) != 0
    broken = tl.min(tl.where(wrong, at, STEPS))
    # Zero times what is not finite is not a number.
    finite = (tl.sum(tl.where(real, x * 0.0, 0.0)) == 0) & (broken == STEPS)
    status = tl.where(finite, tl.where(first < steps, OUT_OF_BUDGET, CONVERGED), NOT_FINITE)
    tl.store(counts + b, tl.load(rounds + b))
    tl.store(counts + batch + b, tl.load(evaluations + b))
    tl.store(counts + 2 * batch + b, status.to(tl.int64))
    tl.store(counts + 3 * batch + b, tl.where(broken == STEPS, -1, broken).to(tl.int64))

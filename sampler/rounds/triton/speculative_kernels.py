"""The kernels of speculative rounds.

Each draft depends on the one before: one program for each environment goes through its window, and keeps the state in
registers from step to step. Verification is independent for each step: one program for each step.

B environments, T steps, windows of p steps, samples of SIZE elements. The buffers are those of
`paradp.sampler.rounds.torch.speculative`, and the window's rows, `[B, p, SIZE]` each: drafts x, guesses there, and the
states after them.
"""

import triton
import triton.language as tl

from paradp.sampler.rounds.triton.steps import (
    COLUMNS,
    SIGMA,
    A,
    C,
    D,
    R,
    clip,
    combine,
    difference,
    mean,
    predict_clean,
    window_end,
)

# Indices into `Guesses.kept`, for each step.
PREDICTION, STATE, MOVED, CHANGED, PARTS = (tl.constexpr(i) for i in range(5))
# The smallest normal number of float32. Avoids divisions by 0.
TINY = tl.constexpr(2.0**-126)


@triton.jit
def recall(table, slope, kept, noise, k, end, reached, usable, d, real, SIZE: tl.constexpr):
    """Loads values of step k before `end`, 0 from there on: D, s, s'/‖s'‖², D' − J s', J, σξ, and the coefficients.

    s' and D' are how both changed. None of it depends on the state there, so that it is read a step ahead, while the step
    before is computed.
    """
    source = tl.maximum(tl.minimum(k, usable - 1), 0)
    own = (source == k) & (k < reached)
    inside = real & (k < end)
    memory = kept + source * (PARTS * SIZE) + d
    held = tl.load(memory + PREDICTION * SIZE, inside, 0.0)
    made_at = tl.load(memory + STATE * SIZE, inside, 0.0)
    moved = tl.load(memory + MOVED * SIZE, inside & own, 0.0)
    changed = tl.load(memory + CHANGED * SIZE, inside & own, 0.0)
    follows = tl.load(slope + k, own & (k < end), 0.0)
    step = table + k * COLUMNS
    pushed = tl.load(step + SIGMA, k < end, 0.0) * tl.load(noise + k * SIZE + d, inside, 0.0)
    a, c = tl.load(step + A, k < end, 0.0), tl.load(step + C, k < end, 0.0)
    r, back = tl.load(step + R, k < end, 0.0), tl.load(step + D, k < end, 0.0)
    along = moved / tl.maximum(tl.sum(moved * moved), TINY)
    return held, made_at, along, changed - follows * moved, follows, pushed, a, c, r, back


@triton.jit
def draft_step(
    bound, x, before, held, made_at, along, bends, follows, pushed, a, c, r, back,
    KEEPS_UNCLIPPED: tl.constexpr, LOOKS_BACK: tl.constexpr,
):  # fmt: skip
    """The guess at a step's prediction for a state x there, and the drafted state that follows."""
    away = x - made_at
    # Beyond the last change itself the secant would extrapolate.
    guess = held + follows * away + clip(tl.sum(along * away), 1.0) * bends
    # A prediction at a draft far from any exact state may fail to be finite; an exact state must not inherit that.
    guess = tl.where(tl.abs(guess) < float("inf"), guess, 0.0)
    return guess, combine(a, c, r, back, bound, x, guess, before, KEEPS_UNCLIPPED, LOOKS_BACK) + pushed


@triton.jit
def draft(
    table, timesteps, slope, bounds, kept, evaluated, base, exact, noise, rows, t, guesses, following,
    steps, width, ahead,
    SIZE: tl.constexpr, BLOCK: tl.constexpr, FROZEN: tl.constexpr, KEEPS_UNCLIPPED: tl.constexpr, LOOKS_BACK: tl.constexpr,
):  # fmt: skip
    """Same as `Guesses.draft`: fills the rows of every window, and their timesteps; padding is 0."""
    b = tl.program_id(0).to(tl.int64)
    d = tl.arange(0, BLOCK)
    real = d < SIZE
    bound = tl.load(bounds)
    first, reached = tl.load(base + b).to(tl.int32), tl.load(evaluated + b).to(tl.int32)
    end = window_end(first, reached, steps, width, ahead)
    usable = reached
    if FROZEN:
        usable = first
    kept += b * steps * (PARTS * SIZE)
    noise += b * steps * SIZE
    t += b * width
    window = b * width * SIZE

    x = tl.load(exact + b * SIZE + d, real, 0.0)
    # The prediction at the exact state before the window, because a decided step is not evaluated again.
    before = tl.load(kept + tl.maximum(first - 1, 0) * (PARTS * SIZE) + PREDICTION * SIZE + d, real, 0.0)
    held, made_at, along, bends, follows, pushed, a, c, r, back = recall(
        table, slope, kept, noise, first, end, reached, usable, d, real, SIZE
    )
    for k in range(first, end):
        row = window + (k - first) * SIZE + d
        tl.store(t + (k - first), tl.load(timesteps + k))
        tl.store(rows + row, x, real)
        last = held, made_at, along, bends, follows, pushed, a, c, r, back
        held, made_at, along, bends, follows, pushed, a, c, r, back = recall(
            table, slope, kept, noise, k + 1, end, reached, usable, d, real, SIZE
        )
        before, x = draft_step(bound, x, before, *last, KEEPS_UNCLIPPED, LOOKS_BACK)
        tl.store(guesses + row, before, real)
        tl.store(following + row, x, real)
    for i in range(end - first, width):
        tl.store(t + i, tl.load(timesteps + steps - 1))
        tl.store(rows + window + i * SIZE + d, tl.zeros_like(x), real)


@triton.jit
def evaluated_row(step, rows, guesses, predictions, at, d, real, SIZE: tl.constexpr):
    """The state of a row, the guess there, and the network's x̂0."""
    x = tl.load(rows + at * SIZE + d, real, 0.0)
    guess = tl.load(guesses + at * SIZE + d, real, 0.0)
    return x, guess, predict_clean(step, x, tl.load(predictions + at * SIZE + d, real, 0.0))


@triton.jit
def remember(memory, x, clean, again, real, SIZE: tl.constexpr, SECANT: tl.constexpr):
    """Stores a prediction and its state, and the changes of both if the step was evaluated before."""
    if SECANT:
        was = tl.load(memory + STATE * SIZE, real & again, 0.0)
        predicted = tl.load(memory + PREDICTION * SIZE, real & again, 0.0)
        tl.debug_barrier()  # all threads have read the memory that is overwritten next
        tl.store(memory + MOVED * SIZE, tl.where(again, x - was, 0.0), real)
        tl.store(memory + CHANGED * SIZE, tl.where(again, clean - predicted, 0.0), real)
    tl.store(memory + STATE * SIZE, x, real)
    tl.store(memory + PREDICTION * SIZE, clean, real)


@triton.jit
def verify(
    table, bounds, kept, evaluated, base, noise, log_u, unsound, rows, guesses, following, predictions, holds,
    steps, width, ahead,
    SIZE: tl.constexpr, BLOCK: tl.constexpr, SECANT: tl.constexpr, KEEPS_UNCLIPPED: tl.constexpr, LOOKS_BACK: tl.constexpr,
):  # fmt: skip
    """Stores the prediction of one step of a window, and verifies its draft as if the steps before it were decided.

    There is one program for each step, as none needs the outcome of another. `holds` is set if the draft is kept; if not,
    `following` is replaced by the state from the coupling.
    """
    b, i = tl.program_id(0).to(tl.int64), tl.program_id(1)
    d = tl.arange(0, BLOCK)
    real = d < SIZE
    first, reached = tl.load(base + b).to(tl.int32), tl.load(evaluated + b).to(tl.int32)
    k = first + i
    if k < window_end(first, reached, steps, width, ahead):
        bound, step, at = tl.load(bounds), table + k * COLUMNS, b * width + i
        kept += b * steps * (PARTS * SIZE)
        x, guess, clean = evaluated_row(step, rows, guesses, predictions, at, d, real, SIZE)
        guess_before, before = guess, clean
        if LOOKS_BACK:  # only then does the step before matter
            if i > 0:
                _, guess_before, before = evaluated_row(step - COLUMNS, rows, guesses, predictions, at - 1, d, real, SIZE)
            else:
                before = tl.load(kept + tl.maximum(k - 1, 0) * (PARTS * SIZE) + PREDICTION * SIZE + d, real, 0.0)
                guess_before = before
        remember(kept + k * (PARTS * SIZE) + d, x, clean, k < reached, real, SIZE, SECANT)
        # 0 times a number that is not finite is NaN, which makes the sum NaN.
        tl.store(unsound + b * steps + k, (tl.sum(clean * 0.0) != 0).to(tl.int8))

        sigma, z = tl.load(step + SIGMA), tl.load(noise + (b * steps + k) * SIZE + d, real, 0.0)
        apart = difference(step, bound, guess, clean, guess_before, before, KEEPS_UNCLIPPED, LOOKS_BACK)
        delta = apart / tl.where(sigma > 0, sigma, 1.0)
        squared, along = tl.sum(delta * delta), tl.sum(z * delta)
        kept_draft = (sigma > 0) & (tl.load(log_u + b * steps + k) <= -along - 0.5 * squared)
        reflected = z - 2 * (along / tl.maximum(squared, TINY)) * delta
        other = mean(step, bound, x, clean, before, KEEPS_UNCLIPPED, LOOKS_BACK) + sigma * reflected
        tl.store(following + at * SIZE + d, other, real & (kept_draft == 0))
        tl.store(holds + at, kept_draft.to(tl.int8))


@triton.jit
def move(
    evaluated, base, rounds, evaluations, exact, following, holds, steps, width, ahead,
    SIZE: tl.constexpr, BLOCK: tl.constexpr, WIDTH: tl.constexpr, KEEPS_UNCLIPPED: tl.constexpr, LOOKS_BACK: tl.constexpr,
):  # fmt: skip
    """Ends a round: every window moves past its leading accepted drafts, and past the next step."""
    b = tl.program_id(0).to(tl.int64)
    d = tl.arange(0, BLOCK)
    first, reached = tl.load(base + b).to(tl.int32), tl.load(evaluated + b).to(tl.int32)
    end = window_end(first, reached, steps, width, ahead)
    i = tl.arange(0, WIDTH)
    fails = tl.load(holds + b * width + i, i < end - first, 0) == 0
    moved = tl.minimum(tl.min(tl.where(fails, i, WIDTH)) + 1, end - first)
    tl.debug_barrier()  # all threads have read the window's position
    if first < end:
        state = tl.load(following + (b * width + moved - 1) * SIZE + d, d < SIZE, 0.0)
        tl.store(exact + b * SIZE + d, state, d < SIZE)
        tl.store(base + b, (first + moved).to(tl.int64))
        tl.store(evaluated + b, tl.maximum(reached, end).to(tl.int64))
        tl.store(rounds + b, tl.load(rounds + b) + 1)
        tl.store(evaluations + b, tl.load(evaluations + b) + end - first)


@triton.jit
def conclude(
    table, slope, bounds, kept, evaluated, base, rounds, evaluations, exact, noise, unsound, samples, counts, steps, batch,
    SIZE: tl.constexpr, BLOCK: tl.constexpr, STEPS: tl.constexpr, FROZEN: tl.constexpr, KEEPS_UNCLIPPED: tl.constexpr,
    LOOKS_BACK: tl.constexpr, OUT_OF_BUDGET: tl.constexpr, NOT_FINITE: tl.constexpr, CONVERGED: tl.constexpr,
):  # fmt: skip
    """The samples (unfinished ones are drafted from their window's exact state), and the counts of `SolverStats`."""
    b = tl.program_id(0).to(tl.int64)
    d = tl.arange(0, BLOCK)
    real = d < SIZE
    bound = tl.load(bounds)
    first, reached = tl.load(base + b).to(tl.int32), tl.load(evaluated + b).to(tl.int32)
    usable = reached
    if FROZEN:
        usable = first
    kept += b * steps * (PARTS * SIZE)
    noise += b * steps * SIZE
    x = tl.load(exact + b * SIZE + d, real, 0.0)
    before = tl.load(kept + tl.maximum(first - 1, 0) * (PARTS * SIZE) + PREDICTION * SIZE + d, real, 0.0)
    for k in range(first, steps):
        recalled = recall(table, slope, kept, noise, k, steps, reached, usable, d, real, SIZE)
        before, x = draft_step(bound, x, before, *recalled, KEEPS_UNCLIPPED, LOOKS_BACK)
    tl.store(samples + b * SIZE + d, x, real)

    at = tl.arange(0, STEPS)
    # Predictions at undecided steps belong to drafts that may yet be discarded.
    wrong = tl.load(unsound + b * steps + at, at < first, 0) != 0
    broken = tl.min(tl.where(wrong, at, STEPS))
    # 0 times a number that is not finite is NaN, which makes the sum NaN.
    finite = (tl.sum(tl.where(real, x * 0.0, 0.0)) == 0) & (broken == STEPS)
    status = tl.where(finite, tl.where(first < steps, OUT_OF_BUDGET, CONVERGED), NOT_FINITE)
    tl.store(counts + b, tl.load(rounds + b))
    tl.store(counts + batch + b, tl.load(evaluations + b))
    tl.store(counts + 2 * batch + b, status.to(tl.int64))
    tl.store(counts + 3 * batch + b, tl.where(broken == STEPS, -1, broken).to(tl.int64))

"""The arithmetic of a round, compiled for the CPU.

B environments, T steps, windows of p steps, samples of D elements. The rows of all windows are stored one after another,
`[n, D]`, without padding. `table` is `StepTable.columns`.
"""

import math

import numpy as np
from numba import njit

from paradp.sampler.table import Column

A, C, R, D = (column.value for column in (Column.A, Column.C, Column.R, Column.D))
SIGMA, FROM_STATE, FROM_PREDICTION = (column.value for column in (Column.SIGMA, Column.FROM_STATE, Column.FROM_PREDICTION))
# Indices into `Guesses.kept`, for each step.
PREDICTION, STATE, MOVED, CHANGED = range(4)


def _compiled(function):
    """Compiles a function at its first call; caches the result on disk if there is a writable folder."""
    try:
        return njit(cache=True, nogil=True, error_model="numpy")(function)
    except RuntimeError:
        return njit(nogil=True, error_model="numpy")(function)


@_compiled
def clip_to(value, bound):
    """Clips to ±bound; NaN stays NaN."""
    return min(max(value, -bound), bound)


@_compiled
def predict_clean(table, k, x, prediction, clean):
    """x̂0 of one row."""
    u, v = table[k, FROM_STATE], table[k, FROM_PREDICTION]
    for d in range(len(x)):
        clean[d] = u * x[d] + v * prediction[d]


@_compiled
def push(table, k, bound, clean, before, noise, pushed):
    """`Steps.push` of one row."""
    c, r, back, sigma = table[k, C], table[k, R], table[k, D], table[k, SIGMA]
    for d in range(len(clean)):
        pushed[d] = c * clip_to(clean[d], bound) + sigma * noise[d]
        if r != 0:
            pushed[d] += r * clean[d]
        if back != 0:
            pushed[d] += back * clip_to(before[d], bound)


@_compiled
def step(table, k, bound, x, prediction, before, noise, clean):
    """One step of the sequential solver, in place: x `[B, D]` becomes its successor, and x̂0 goes to `clean` `[B, D]`."""
    pushed = np.empty_like(x[0])
    for b in range(len(x)):
        predict_clean(table, k, x[b], prediction[b], clean[b])
        push(table, k, bound, clean[b], before[b], noise[b], pushed)
        for d in range(len(pushed)):
            x[b, d] = table[k, A] * x[b, d] + pushed[d]


@_compiled
def look(base, limit, timesteps, width, env, steps, t):
    """Fills the environments, steps and timesteps of all windows' rows before `limit` `[B]`; returns their number n."""
    n = 0
    for b in range(len(base)):
        for k in range(base[b], min(base[b] + width, limit[b], len(timesteps))):
            env[n], steps[n], t[n] = b, k, timesteps[k]
            n += 1
    return n


@_compiled
def draft(
    table, slope, levels, into, out, gains, bound, frozen, kept, evaluated, base, exact, noise, n, env, steps, x, guess,
    following,
):  # fmt: skip
    """`Guesses.draft` for all rows: fills the drafts x, the guesses there and the states after them, `[n, D]` each.

    Trained drafts have `levels` `[3, T+1]`, S, Q and √S of `Levels`, the model's `into` and `out`, and its gains `[n, r]`;
    for others r is 0, and `levels` `[3, 0]`.
    """
    size = exact.shape[1]
    innovation, inner = np.empty_like(exact[0]), np.empty_like(into[0])
    for row in range(n):
        b, k = env[row], steps[row]
        usable = base[b] if frozen else evaluated[b, 0]
        source = max(min(k, usable - 1), 0)
        own = source == k and k < evaluated[b, 0]
        memory = kept[b, source]
        first = k == base[b]
        for d in range(size):
            x[row, d] = exact[b, d] if first else following[row - 1, d]
        share = seen_before(memory, x[row]) if own else x.dtype.type(0)
        if len(inner) > 0:
            since = source if evaluated[b, 0] > 0 else len(table)
            learned_guess(levels, into, out, gains[row], k, since, share, memory, x[row], innovation, inner, guess[row])
        else:
            secant_guess(slope[k] if own else x.dtype.type(0), share, memory, x[row], guess[row])
        for d in range(size):
            # A prediction at a draft far from any exact state may not be finite; it must not spread to exact states.
            if not math.isfinite(guess[row, d]):
                guess[row, d] = 0
        before = kept[b, max(k - 1, 0), PREDICTION] if first else guess[row - 1]
        mean(table, k, bound, x[row], guess[row], before, following[row])
        for d in range(size):
            following[row, d] += table[k, SIGMA] * noise[b, k, d]


@_compiled
def seen_before(memory, x):
    """w: the position of a state along the last change of the state, clipped to ±1, beyond which the secant extrapolates."""
    along, squared = 0.0, np.finfo(np.float32).tiny
    for d in range(len(x)):
        along += memory[MOVED, d] * (x[d] - memory[STATE, d])
        squared += memory[MOVED, d] * memory[MOVED, d]
    return x.dtype.type(clip_to(along / squared, 1.0))


@_compiled
def secant_guess(slope, share, memory, x, guess):
    """The held prediction, corrected by a scalar slope, and by the measured slope along the line of the last two states."""
    for d in range(len(x)):
        kink = memory[CHANGED, d] - slope * memory[MOVED, d]
        guess[d] = memory[PREDICTION, d] + slope * (x[d] - memory[STATE, d]) + share * kink


@_compiled
def learned_guess(levels, into, out, gains, k, source, share, memory, x, innovation, inner, guess):
    """The held prediction, corrected by a `DraftModel`, and by the measured change along the line of the last two states."""
    snr, follows, root = levels[0], levels[1], levels[2]
    for d in range(len(x)):
        since = follows[source] * memory[STATE, d] + (snr[k] - snr[source]) * memory[PREDICTION, d]
        innovation[d] = (follows[k] * (x[d] - share * memory[MOVED, d]) - since) / root[k]
        guess[d] = memory[PREDICTION, d] + share * memory[CHANGED, d]
    inner[:] = 0
    for d in range(len(x)):
        for i in range(len(inner)):
            inner[i] += into[d, i] * innovation[d]
    for i in range(len(inner)):
        weight = gains[i] * inner[i] / root[k]
        for d in range(len(x)):
            guess[d] += out[i, d] * weight


@_compiled
def mean(table, k, bound, x, clean, before, found):
    """`Steps.mean` of one row."""
    a, c, r, back = table[k, A], table[k, C], table[k, R], table[k, D]
    for d in range(len(x)):
        found[d] = a * x[d] + c * clip_to(clean[d], bound)
    if r != 0:
        for d in range(len(x)):
            found[d] += r * clean[d]
    if back != 0:
        for d in range(len(x)):
            found[d] += back * clip_to(before[d], bound)


@_compiled
def difference(table, k, bound, one, other, one_before, other_before, found):
    """`Steps.difference` of one row."""
    c, r, back = table[k, C], table[k, R], table[k, D]
    for d in range(len(one)):
        found[d] = c * (clip_to(one[d], bound) - clip_to(other[d], bound))
    if r != 0:
        for d in range(len(one)):
            found[d] += r * (one[d] - other[d])
    if back != 0:
        for d in range(len(one)):
            found[d] += back * (clip_to(one_before[d], bound) - clip_to(other_before[d], bound))


@_compiled
def verify(table, k, bound, x, guess, guess_before, following, clean, before, z, log_u, apart, exact):
    """Decides one step whose draft is exact: puts x_{k+1} into `exact` and returns whether it is the draft."""
    sigma = table[k, SIGMA]
    squared, along = 0.0, 0.0
    one = x.dtype.type(1)
    scale = one / sigma if sigma > 0 else one
    difference(table, k, bound, guess, clean, guess_before, before, apart)
    for d in range(len(x)):
        delta = scale * apart[d]
        squared += delta * delta
        along += z[d] * delta
    if sigma > 0 and log_u <= -along - 0.5 * squared:
        exact[:] = following
        return True
    factor = x.dtype.type(2 * along / squared) if squared > 0 else x.dtype.type(0)
    mean(table, k, bound, x, clean, before, exact)
    for d in range(len(x)):
        exact[d] += sigma * (z[d] - factor * scale * apart[d])
    return False


@_compiled
def settle(
    table, bound, secant, kept, evaluated, base, rounds, evaluations, exact, noise, log_u, n, env, steps, x, guess,
    following, prediction,
):  # fmt: skip
    """Ends a speculative round: keeps the predictions `[n, D]`, verifies the drafts in order, and moves the windows."""
    clean, apart = np.empty_like(exact[0]), np.empty_like(exact[0])
    row = 0
    while row < n:
        b, first, start = env[row], steps[row], row
        deciding, moved = True, 0
        while row < n and env[row] == b:
            k = steps[row]
            predict_clean(table, k, x[row], prediction[row], clean)
            if deciding:
                # The kept prediction of the step before belongs to the state before this one, from this or an earlier round.
                before = kept[b, max(k - 1, 0), PREDICTION]
                guess_before = before if row == start else guess[row - 1]
                deciding = verify(
                    table, k, bound, x[row], guess[row], guess_before, following[row], clean, before, noise[b, k],
                    log_u[b, k], apart, exact[b],
                )  # fmt: skip
                moved += 1
            again = secant and k < evaluated[b, 0]
            memory = kept[b, k]
            for d in range(len(clean)):
                memory[MOVED, d] = x[row, d] - memory[STATE, d] if again else 0
                memory[CHANGED, d] = clean[d] - memory[PREDICTION, d] if again else 0
                memory[STATE, d], memory[PREDICTION, d] = x[row, d], clean[d]
            row += 1
        width = steps[row - 1] + 1 - first
        evaluated[b, 0] = max(evaluated[b, 0], first + width)
        base[b] += moved
        rounds[b] += 1
        evaluations[b] += width


@_compiled
def read(states, furthest, n, env, steps, x):
    """Fills the states of all rows; beyond the furthest state computed so far, with that one."""
    for row in range(n):
        b = env[row]
        x[row] = states[b, min(steps[row], furthest[b])]


# Long: a round is one pass over the rows. A helper would need a window's running sums (new, drift, settled) as arguments and
# results for every row.
@_compiled
def iterate(
    table, scale, bound, linear, rolls, tolerance, width, states, held, base, furthest, rounds, evaluations, residual, noise,
    n, env, steps, x, prediction,
):  # fmt: skip
    """Ends a round of Picard iteration: takes the predictions `[n, D]` at states x, and moves the windows."""
    total, size, one = len(table), states.shape[2], table.dtype.type(1)
    pushed, new, drift = np.empty_like(x[0]), np.empty_like(x[0]), np.empty_like(x[0])
    row = 0
    while row < n:
        b, first, start, last = env[row], steps[row], row, furthest[env[row]]
        settling, settled = True, 0
        new[:], drift[:] = x[start], 0
        while row < n and env[row] == b:
            k = steps[row]
            predict_clean(table, k, x[row], prediction[row], held[b, k])
            push(table, k, bound, held[b, k], held[b, max(k - 1, 0)], noise[b, k], pushed)
            # The earlier guess at the next state: beyond the furthest state, a copy of that one.
            old = states[b, k + 1] if k < last else x[row]
            change = 0.0
            for d in range(size):
                if linear:
                    new[d] = table[k, A] * new[d] + pushed[d]
                else:
                    drift[d] += pushed[d] + (table[k, A] - one) * x[row, d]
                    new[d] = x[start, d] + drift[d]
                change += (new[d] - old[d]) ** 2
            change = math.sqrt(change / size) / scale[k + 1]
            settling = settling and change <= tolerance
            if settling:
                settled += 1
                residual[b] = max(residual[b], change)
            states[b, k + 1] = new
            row += 1
        furthest[b] = first + row - start
        base[b] += min(settled + 1, row - start)
        rounds[b] += 1
        evaluations[b] += row - start
        if rolls:
            prediction_held = held[b, furthest[b] - 1]
            for k in range(furthest[b], min(base[b] + width, total)):
                push(table, k, bound, prediction_held, prediction_held, noise[b, k], pushed)
                for d in range(size):
                    states[b, k + 1, d] = table[k, A] * states[b, k, d] + pushed[d]
                furthest[b] = k + 1

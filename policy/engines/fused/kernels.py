"""The two Triton kernels of a convolution layer: `product` computes the sums, `finish` the elementwise operations on them.

The sums are `[splits, rows, sections, channels]` in float32: the product of a wide layer is split into several parts, so
that all multiprocessors read weights at the same time, and `finish` adds the parts.
"""

import triton
import triton.language as tl
from triton.language.extra.cuda import gdc_launch_dependents, gdc_wait


# Long: Triton has no structures, so each parameter is separate and documented. The rest is addresses, a loop and a store,
# which share them.
@triton.jit
def product(
    x,
    skip,
    weight,
    bias,
    out,
    rows,
    steps_in,
    steps_out,
    channels,
    columns,
    taps_0,
    taps_1,
    padding_0,
    padding_1,
    stride,
    parts,
    SECTIONS: tl.constexpr,
    BIAS: tl.constexpr,
    MASK: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
    THREADS: tl.constexpr,
    FETCH: tl.constexpr,
    OVERLAP: tl.constexpr,
):
    """out[split, row, section] = Σ x[row's window] @ weight[section], over the split's share of taps and channels.

    A program computes BLOCK_M rows and BLOCK_N columns of one section and one split.

    Args:
        x, skip: `[n, steps_in, channels]`; two of them side by side where parts = 2.
        weight: for each section and BLOCK_N columns of it: for each tap, part, and BLOCK_K channels `[BLOCK_K, BLOCK_N]`,
            zero beyond the channels and the columns.
        bias: `[SECTIONS, columns]`, added where BIAS is set.
        out: `[splits, rows, SECTIONS, columns]`.
        rows: n · steps_out.
        MASK: whether BLOCK_K does not divide the channels.
        FETCH: whether all weights of the program are fetched into the second-level cache at once (from Hopper on).
        OVERLAP: whether the program may begin before the kernel before it has ended (likewise).
    """
    splits = tl.num_programs(2)
    split = tl.program_id(2)
    tiles = tl.cdiv(columns, BLOCK_N)
    section = tl.program_id(1) // tiles
    tile = tl.program_id(1) % tiles
    second = section == 1
    taps = tl.where(second, taps_1, taps_0)
    per_part = tl.cdiv(channels, BLOCK_K)
    per_tap = parts * per_part
    begin = taps * per_tap * split // splits
    end = taps * per_tap * (split + 1) // splits
    before = tl.where(second, tiles * taps_0 * per_tap, 0) + tile * taps * per_tap
    weights = weight + (before + begin).to(tl.int64) * (BLOCK_K * BLOCK_N)
    if OVERLAP:
        gdc_launch_dependents()
    if FETCH:  # noqa: SIM102 — a compile-time constant
        if (tl.program_id(0) == 0) & (begin < end):  # programs of other rows read the same weights
            _prefetch(weights, (end - begin) * (BLOCK_K * BLOCK_N), THREADS)
    if OVERLAP:
        gdc_wait()

    row = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    k = tl.arange(0, BLOCK_K)
    column = tl.arange(0, BLOCK_N)
    position = (row % steps_out) * stride - tl.where(second, padding_1, padding_0)
    start = ((row // steps_out) * steps_in + position).to(tl.int64) * channels
    windows = start[:, None] + k[None, :]
    weights += k[:, None] * BLOCK_N + column[None, :]
    sums = tl.zeros((BLOCK_M, BLOCK_N), dtype=tl.float32)
    for block in range(begin, end):
        tap = block // per_tap
        part = (block % per_tap) // per_part
        channel = (block % per_part) * BLOCK_K
        inside = ((row < rows) & (position + tap >= 0) & (position + tap < steps_in))[:, None]
        if MASK:
            inside = inside & ((channel + k) < channels)[None, :]
        source = tl.where(part == 0, x, skip) + (tap * channels + channel)
        a = tl.load(source + windows, mask=inside, other=0.0)
        b = tl.load(weights)
        sums = tl.dot(a.to(b.dtype), b, sums, input_precision="ieee")
        weights += BLOCK_K * BLOCK_N

    at = tile * BLOCK_N + column
    if BIAS:
        sums += tl.load(bias + section * columns + at, mask=at < columns, other=0.0)[None, :]
    place = ((split * rows + row).to(tl.int64) * SECTIONS + section) * columns
    valid = (row < rows)[:, None] & (at < columns)[None, :]
    tl.store(out + (place[:, None] + at[None, :]), sums.to(out.dtype.element_ty), mask=valid)


# Long: as `product`; and its speed depends on the order of the loads, which helpers would hide.
@triton.jit
def finish(
    sums,
    bias,
    gamma,
    beta,
    eps,
    timestep,
    condition,
    film_width,
    film,
    residual,
    residual_bias,
    out,
    rows,
    channels,
    STEPS: tl.constexpr,
    SIZE: tl.constexpr,
    BLOCK: tl.constexpr,
    SPLITS: tl.constexpr,
    SECTIONS: tl.constexpr,
    RESIDUAL_SPLITS: tl.constexpr,
    RESIDUAL_SECTIONS: tl.constexpr,
    OVERLAP: tl.constexpr,
):
    """Adds the parts of a convolution's sums and its bias, normalises, applies Mish, then FiLM and the residual.

    A program computes one group of channels of one chunk, which is normalised together.

    Args:
        sums: `[SPLITS, rows, SECTIONS, channels]`, of which the first section is finished.
        bias: `[channels]`, of the convolution.
        gamma, beta: `[channels]`, of the normalisation; None for neither normalisation nor Mish.
        timestep, condition: `[n, film_width]`; their sum holds the channels' scales from column `film` on, then the biases.
            None for none.
        residual: `[RESIDUAL_SPLITS, rows, RESIDUAL_SECTIONS, channels]`, of which the last section is added; with no splits,
            none is.
        residual_bias: `[channels]`, or None.
        out: `[rows, channels]`.
        rows: n · STEPS.
        SIZE: channels of a group.
        BLOCK: STEPS · SIZE or more.
    """
    chunk = tl.program_id(0)
    element = tl.arange(0, BLOCK)
    inside = element < STEPS * SIZE
    channel = tl.program_id(1) * SIZE + element % SIZE
    row = (chunk * STEPS + element // SIZE).to(tl.int64)

    # Inputs that do not depend on the previous kernel are loaded first, and everything before the means: so it waits once.
    h = tl.load(bias + channel, mask=inside, other=0.0)
    added = tl.zeros_like(h)
    if gamma is not None:
        weight = tl.load(gamma + channel, mask=inside, other=0.0)
        shift = tl.load(beta + channel, mask=inside, other=0.0)
    if timestep is not None:
        at = chunk.to(tl.int64) * film_width + film + channel
        film_scale = _both(timestep + at, condition + at, inside)
        film_bias = _both(timestep + at + channels, condition + at + channels, inside)
    if residual_bias is not None:
        added += tl.load(residual_bias + channel, mask=inside, other=0.0)
    if OVERLAP:
        gdc_launch_dependents()
        gdc_wait()
    h = _add_parts(h, sums, rows, row, channels, channel, inside, SPLITS, SECTIONS, 0)
    added = _add_parts(
        added, residual, rows, row, channels, channel, inside, RESIDUAL_SPLITS, RESIDUAL_SECTIONS, RESIDUAL_SECTIONS - 1
    )
    if gamma is not None:
        mean = tl.sum(tl.where(inside, h, 0.0)) / (STEPS * SIZE)
        h = tl.where(inside, h - mean, 0.0)
        variance = tl.sum(h * h) / (STEPS * SIZE)
        h = _mish(h * tl.rsqrt(variance + eps) * weight + shift)
    if timestep is not None:
        h = h * film_scale + film_bias
    tl.store(out + row * channels + channel, (h + added).to(out.dtype.element_ty), mask=inside)


@triton.jit
def _add_parts(
    h, parts, rows, row, channels, channel, inside, SPLITS: tl.constexpr, SECTIONS: tl.constexpr, SECTION: tl.constexpr
):
    """Adds one section of `[SPLITS, rows, SECTIONS, channels]`, summed over all splits, to h."""
    for split in tl.static_range(SPLITS):
        place = ((split * rows + row) * SECTIONS + SECTION) * channels + channel
        h += tl.load(parts + place, mask=inside, other=0.0).to(tl.float32)
    return h


@triton.jit
def _both(a, b, inside):
    return tl.load(a, mask=inside, other=0.0).to(tl.float32) + tl.load(b, mask=inside, other=0.0).to(tl.float32)


@triton.jit
def _mish(x):
    """x · tanh(log(1 + eˣ)), where tanh(log(1 + u)) = (u² + 2u) / (u² + 2u + 2)."""
    u = tl.exp(tl.minimum(x, 20.0))  # above that the fraction is 1 in float32
    w = u * (u + 2.0)
    return x * (w / (w + 2.0))


@triton.jit
def _prefetch(begin, elements, THREADS: tl.constexpr):
    """Prefetches data from a pointer on, a multiple of 256 elements, into the second-level cache; one piece per thread."""
    size = elements * (begin.dtype.element_ty.primitive_bitwidth // 8)
    piece = tl.cdiv(tl.cdiv(size, THREADS), 16) * 16
    offset = tl.minimum(tl.arange(0, THREADS) * piece, size - piece)
    tl.inline_asm_elementwise(
        "cp.async.bulk.prefetch.L2.global [$1], $2; // $0",
        "=r,l,r",
        [begin.to(tl.int64) + offset, piece],
        dtype=tl.int32,
        is_pure=False,
        pack=1,
    )

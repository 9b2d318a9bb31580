"""Convolutions as the kernels take them: weights tile by tile, sizes of tiles and numbers of parts from the shapes alone."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from paradp.policy.engines.fused.packing import Convolution, Section

# Of a large GPU. A product is split among no more programs than its multiprocessors hold at a time.
MULTIPROCESSORS = 132
# No part has fewer blocks of the inner dimension: below, writing and adding the parts takes longer than what is saved.
LEAST_BLOCKS = 4
MOST_SPLITS = 16


@dataclass(frozen=True)
class Tiled:
    """A convolution whose weights lie as `kernels.product` reads them, tile by tile.

    Attributes:
        weight: see `kernels.product`.
        bias: `[sections, columns]`, float32.
        channels: of the input, or of each of the two that are joined.
        columns: channels out of a section.
        parts: how many inputs are joined.
        taps, padding: of each section.
        block_n, block_k: sizes of a tile of the weights.
    """

    weight: Tensor
    bias: Tensor
    channels: int
    columns: int
    parts: int
    taps: tuple[int, ...]
    padding: tuple[int, ...]
    stride: int
    block_n: int
    block_k: int

    @property
    def sections(self) -> int:
        """How many there are: one or two."""
        return len(self.taps)

    @property
    def tiles(self) -> int:
        """Of columns, in all sections."""
        return self.sections * -(-self.columns // self.block_n)

    def blocks(self, taps: int) -> int:
        """Of the inner dimension, of so many taps."""
        return taps * self.parts * -(-self.channels // self.block_k)

    def block_m(self, rows: int) -> int:
        """How many of so many rows a program computes."""
        if self.weight.dtype == torch.bfloat16:
            return 128 if -(-rows // 128) * self.tiles >= MULTIPROCESSORS else min(64, _power_of_two(rows))
        return min(32 if 0 < rows % 64 <= 32 else 64, _power_of_two(rows))

    def splits(self, rows: int) -> int:
        """Into how many parts the sums are split, for so many rows."""
        longest = self.blocks(self.taps[0])
        work = -(-rows // self.block_m(rows)) * self.tiles // self.sections * self.blocks(sum(self.taps))
        return max(1, min(self._programs(rows) * longest // work, longest // LEAST_BLOCKS, MOST_SPLITS))

    def stages(self, rows: int) -> int:
        """How many blocks are loaded ahead, for so many rows."""
        if self.weight.dtype == torch.bfloat16:
            return 4 if self.block_m(rows) == 128 else 5
        return 3

    def _programs(self, rows: int) -> int:
        """How many a GPU holds at a time: of blocks of 128 rows one a multiprocessor, of smaller ones two, and four of those
        that do without matrix units."""
        if self.weight.dtype == torch.bfloat16:
            return MULTIPROCESSORS if self.block_m(rows) == 128 else 2 * MULTIPROCESSORS
        return 4 * MULTIPROCESSORS


def block_of_columns(columns: int) -> int:
    """How many columns a program computes."""
    return min(64, _power_of_two(columns))


def block_of_channels(channels: int, dtype: torch.dtype) -> int:
    """How many channels a program multiplies at a time; fewer where there are no matrix units."""
    most = 64 if dtype == torch.bfloat16 else 32
    fitting = [size for size in (most, most // 2) if channels % size == 0]
    return fitting[0] if fitting else min(most, _power_of_two(channels))


def _power_of_two(size: int) -> int:
    """The first that is no smaller, and 16 at least, as matrix units need."""
    return max(16, 2 ** math.ceil(math.log2(size)))


def tile(dtype: torch.dtype, convolution: Convolution) -> Tiled:
    """A convolution as the kernel takes it."""
    parts, weight = convolution.parts, convolution.sections[0].weight
    channels, columns = weight.shape[1] // parts, weight.shape[2]
    block_n, block_k = block_of_columns(columns), block_of_channels(channels, dtype)

    def tiles(section: Section) -> Tensor:
        by_part = section.weight.unflatten(1, (parts, channels))
        padded = functional.pad(by_part, (0, -columns % block_n, 0, -channels % block_k)).flatten(0, 2).to(dtype)
        return padded.unflatten(0, (-1, block_k)).unflatten(2, (-1, block_n)).permute(2, 0, 1, 3).flatten()

    return Tiled(
        torch.cat([tiles(section) for section in convolution.sections]),
        torch.stack([section.bias for section in convolution.sections]),
        channels,
        columns,
        parts,
        tuple(len(section.weight) for section in convolution.sections),
        tuple(section.padding for section in convolution.sections),
        convolution.stride,
        block_n,
        block_k,
    )

"""Converts convolutions to the kernels' form: weights in tiles. Sizes of tiles and numbers of splits depend on shapes."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from paradp.policy.engines.unet_layers import Convolution, Section

# Multiprocessors of a large GPU. A product is split among at most as many programs as these run at a time.
MULTIPROCESSORS = 132
# Smallest number of blocks of the inner dimension per part: with fewer, writing and adding the parts costs too much.
LEAST_BLOCKS = 4
MOST_SPLITS = 16


@dataclass(frozen=True)
class Tiled:
    """A convolution with weights in the tiles that `kernels.product` reads.

    Attributes:
        weight: see `kernels.product`.
        bias: `[sections, columns]`, float32.
        channels: channels of the input, or of each of two concatenated inputs.
        columns: output channels of a section.
        parts: number of concatenated inputs.
        taps, padding: for each section.
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
        """The number of sections: one or two."""
        return len(self.taps)

    @property
    def tiles(self) -> int:
        """The number of tiles of columns, in all sections."""
        return self.sections * -(-self.columns // self.block_n)

    def blocks(self, taps: int) -> int:
        """The number of blocks of the inner dimension, for a number of taps."""
        return taps * self.parts * -(-self.channels // self.block_k)

    def block_m(self, rows: int) -> int:
        """The number of rows that a program computes."""
        if self.weight.dtype == torch.bfloat16:
            return 128 if -(-rows // 128) * self.tiles >= MULTIPROCESSORS else min(64, _power_of_two(rows))
        return min(32 if 0 < rows % 64 <= 32 else 64, _power_of_two(rows))

    def splits(self, rows: int) -> int:
        """The number of parts into which the sums are split, for a number of rows."""
        longest = self.blocks(self.taps[0])
        work = -(-rows // self.block_m(rows)) * self.tiles // self.sections * self.blocks(sum(self.taps))
        return max(1, min(self._programs(rows) * longest // work, longest // LEAST_BLOCKS, MOST_SPLITS))

    def stages(self, rows: int) -> int:
        """The number of blocks that are loaded ahead, for a number of rows."""
        if self.weight.dtype == torch.bfloat16:
            return 4 if self.block_m(rows) == 128 else 5
        return 3

    def _programs(self, rows: int) -> int:
        """The number of programs that a GPU runs at a time.

        Per multiprocessor one for blocks of 128 rows, two for smaller ones, and four for those without matrix units.
        """
        if self.weight.dtype == torch.bfloat16:
            return MULTIPROCESSORS if self.block_m(rows) == 128 else 2 * MULTIPROCESSORS
        return 4 * MULTIPROCESSORS


def block_of_columns(columns: int) -> int:
    """The number of columns that a program computes."""
    return min(64, _power_of_two(columns))


def block_of_channels(channels: int, dtype: torch.dtype) -> int:
    """The number of channels that a program multiplies at a time; fewer without matrix units."""
    most = 64 if dtype == torch.bfloat16 else 32
    fitting = [size for size in (most, most // 2) if channels % size == 0]
    return fitting[0] if fitting else min(most, _power_of_two(channels))


def _power_of_two(size: int) -> int:
    """The next power of two, and at least 16, as matrix units require."""
    return max(16, 2 ** math.ceil(math.log2(size)))


def tile(dtype: torch.dtype, convolution: Convolution) -> Tiled:
    """Converts a convolution to the kernel's form."""
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

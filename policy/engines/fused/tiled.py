"""The U-Net by two Triton kernels a convolution, on tiles whose sizes follow from the shapes alone."""

import math
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from paradp.policy.engines.fused import kernels
from paradp.policy.engines.fused.network import ChannelsLastUnet, Features
from paradp.policy.engines.fused.packing import Block, Convolution, Normalisation, NormalisedConvolution, Section, pack
from paradp.policy.networks.unet import ConditionalUnet1D

# A product is split among no more programs than a large GPU has multiprocessors; without matrix units four of them share a
# multiprocessor. None has fewer blocks of the inner dimension than these: below, writing and adding the parts takes longer
# than what is saved.
PROGRAMS = {torch.bfloat16: 132, torch.float32: 528}
# Blocks that are loaded ahead.
STAGES = {torch.bfloat16: 4, torch.float32: 3}
LEAST_BLOCKS = 4
MOST_SPLITS = 16
# Where nothing is to be done with the sums but to add the bias, so many blocks are no slower in one program than in several
# and a second kernel.
MOST_BLOCKS_AT_ONCE = 16


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
            # Rows too many cost nothing: where one block holds all, each weight is read once.
            large = rows <= 128 or -(-rows // 128) * self.tiles >= PROGRAMS[torch.bfloat16]
            return min(128 if large else 64, _power_of_two(rows))
        return min(32 if 0 < rows % 64 <= 32 else 64, _power_of_two(rows))

    def splits(self, rows: int) -> int:
        """Into how many parts the sums are split, for so many rows."""
        longest = self.blocks(self.taps[0])
        work = -(-rows // self.block_m(rows)) * self.tiles // self.sections * self.blocks(sum(self.taps))
        return max(1, min(PROGRAMS[self.weight.dtype] * longest // work, longest // LEAST_BLOCKS, MOST_SPLITS))


class Sums(NamedTuple):
    """What `kernels.product` computed: `[splits, n · steps, sections, columns]`."""

    parts: Tensor
    steps: int


class Film(NamedTuple):
    """The encoded timesteps and conditions `[n, F]`, and where a block's scales and biases begin."""

    timestep: Tensor
    condition: Tensor
    begin: int


class Residual(NamedTuple):
    """Parts `[splits, n · steps, sections, columns]` of which the last section is added, and its bias."""

    parts: Tensor
    bias: Tensor | None = None


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


class TiledUnet(ChannelsLastUnet[Tiled, Sums]):
    """Sums in float32; features in the precision of the products.

    Args:
        network: whose `denoise` is computed; float32, on the device.
        dtype: of the products.
        overlapped: whether a kernel may begin, and fetch its weights, before the one before it has ended: programmatic
            dependent launch, which GPUs have from Hopper on; on others it changes nothing.
    """

    def __init__(self, network: ConditionalUnet1D, dtype: torch.dtype, overlapped: bool = False):
        super().__init__(pack(network, partial(tile, dtype)))
        self._type = dtype
        device = next(network.parameters()).device
        self._hopper = device.type == "cuda" and torch.cuda.get_device_capability(device) >= (9, 0)
        self._overlapped = overlapped and self._hopper

    def __call__(self, x: Tensor, timestep: Tensor, condition: Tensor) -> Tensor:
        with torch.cuda.device_of(x):  # Triton launches on the current device
            return super().__call__(x.contiguous(), timestep.contiguous(), condition.contiguous())

    def convolve(self, convolution: Tiled, x: Features) -> Sums:
        steps = -(-x[0].shape[1] // convolution.stride)
        rows = len(x[0]) * steps
        shape = convolution.splits(rows), rows, convolution.sections, convolution.columns
        parts = x[0].new_empty(shape, dtype=torch.float32)
        self._product(convolution, x, parts)
        return Sums(parts, steps)

    def normalise(self, layer: NormalisedConvolution[Tiled], sums: Sums) -> Tensor:
        return self._finish(layer.convolution, sums, layer.norm)

    def modulate(self, block: Block[Tiled], sums: Sums, timestep: Tensor, condition: Tensor) -> Tensor:
        return self._finish(block.first.convolution, sums, block.first.norm, film=Film(timestep, condition, block.film))

    def add(self, block: Block[Tiled], sums: Sums, x: Features, begun: Sums) -> Tensor:
        first = block.first.convolution
        if first.sections == 2:
            residual = Residual(begun.parts, first.bias[1])
        else:
            features = x[0] if len(x) == 1 else torch.cat(x, dim=2)
            residual = Residual(features.view(1, -1, 1, features.shape[2]))
        return self._finish(block.second.convolution, sums, block.second.norm, residual=residual)

    def resample(self, convolution: Tiled, x: Tensor) -> Tensor:
        # A row's sections are successive steps.
        if convolution.blocks(convolution.taps[0]) > MOST_BLOCKS_AT_ONCE:
            sums = self.convolve(convolution, (x,))
            turns = Sums(sums.parts.flatten(1, 2).unsqueeze(2), sums.steps * convolution.sections)
            return self._finish(convolution, turns)
        return self._at_once(convolution, x, self._type)

    def project(self, convolution: Tiled, h: Tensor, like: Tensor) -> Tensor:
        return self._at_once(convolution, h, like.dtype)

    def _at_once(self, convolution: Tiled, x: Tensor, dtype: torch.dtype) -> Tensor:
        """The convolution with its bias, by one kernel."""
        n, steps = len(x), -(-x.shape[1] // convolution.stride)
        out = x.new_empty(1, n * steps, convolution.sections, convolution.columns, dtype=dtype)
        self._product(convolution, (x,), out, biased=True)
        return out.view(n, -1, convolution.columns)

    def _product(self, convolution: Tiled, x: Features, out: Tensor, biased: bool = False) -> None:
        """Computes the sums of all sections, the bias included if asked for."""
        count, rows = out.shape[:2]
        block_m = convolution.block_m(rows)
        warps = 8 if block_m == 128 else 4
        entry = convolution is self._layers.down[0].blocks[0].first.convolution
        kernels.product[(-(-rows // block_m), convolution.tiles, count)](
            x[0],
            x[-1],
            convolution.weight,
            convolution.bias,
            out,
            rows,
            x[0].shape[1],
            rows // len(x[0]),
            convolution.channels,
            convolution.columns,
            convolution.taps[0],
            convolution.taps[-1],
            convolution.padding[0],
            convolution.padding[-1],
            convolution.stride,
            convolution.parts,
            SECTIONS=convolution.sections,
            BIAS=biased,
            MASK=convolution.channels % convolution.block_k != 0,
            BLOCK_M=block_m,
            BLOCK_N=convolution.block_n,
            BLOCK_K=convolution.block_k,
            THREADS=32 * warps,
            FETCH=self._hopper,
            OVERLAP=self._overlapped,
            num_warps=warps,
            num_stages=STAGES[self._type],
            **self._launch(not entry),
        )

    def _finish(
        self,
        convolution: Tiled,
        sums: Sums,
        norm: Normalisation | None = None,
        film: Film | None = None,
        residual: Residual | None = None,
    ) -> Tensor:
        """Bias, then normalisation, Mish, FiLM and residual as far as they are given."""
        count, rows, sections, columns = sums.parts.shape
        n, size = rows // sums.steps, columns // norm.groups if norm else math.gcd(columns, 64)
        block = 2 ** math.ceil(math.log2(sums.steps * size))
        out = sums.parts.new_empty((n, sums.steps, columns), dtype=self._type)
        kernels.finish[(n, columns // size)](
            sums.parts,
            convolution.bias,
            norm.weight if norm else None,
            norm.bias if norm else None,
            norm.eps if norm else 0.0,
            film.timestep if film else None,
            film.condition if film else None,
            film.condition.shape[1] if film else 0,
            film.begin if film else 0,
            residual.parts if residual else None,
            residual.bias if residual else None,
            out,
            rows,
            columns,
            STEPS=sums.steps,
            SIZE=size,
            BLOCK=block,
            SPLITS=count,
            SECTIONS=sections,
            RESIDUAL_SPLITS=residual.parts.shape[0] if residual else 0,
            RESIDUAL_SECTIONS=residual.parts.shape[2] if residual else 1,
            OVERLAP=self._overlapped,
            num_warps=min(8, max(1, block // 128)),
            **self._launch(),
        )
        return out

    def _launch(self, after_a_kernel: bool = True) -> dict[str, bool]:
        """How a kernel is launched: of an overlapped one, the kernel before it must be one of these."""
        return {"launch_pdl": True} if self._overlapped and after_a_kernel else {}

"""The U-Net with two Triton kernels per convolution."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from paradp.policy.engines.fused import kernels
from paradp.policy.engines.fused.tiles import Tiled
from paradp.policy.engines.unet_layers import Block, Layers, Level, Normalisation

# If only the bias is added to the sums, one program with up to this many blocks is as fast as several and a second kernel.
MOST_BLOCKS_AT_ONCE = 16
# Features `[n, h, C]`; two where a skip connection concatenates them.
Features = tuple[Tensor, ...]


class Sums(NamedTuple):
    """The result of `kernels.product`: `[splits, n · steps, sections, columns]`."""

    parts: Tensor
    steps: int


class FilmInput(NamedTuple):
    """The encoded timesteps and conditions `[n, F]`, and the index of a block's first scale in them."""

    timestep: Tensor
    condition: Tensor
    begin: int


class Residual(NamedTuple):
    """A residual: parts `[splits, n · steps, sections, columns]`, whose last section is added, and its bias."""

    parts: Tensor
    bias: Tensor | None = None


class TiledUnet:
    """Computes `ConditionalUnet1D.denoise`, for inference: sums in float32, features in the precision of the products.

    Args:
        layers: the network's layers, on its device.
        dtype: dtype of the products.
        overlapped: whether a kernel may start, and load its weights, before the previous one has ended (programmatic
            dependent launch, from Hopper on; without effect on older GPUs).
    """

    def __init__(self, layers: Layers[Tiled], dtype: torch.dtype, overlapped: bool = False):
        self._layers = layers
        self._type = dtype
        device = layers.projection.weight.device
        self._hopper = device.type == "cuda" and torch.cuda.get_device_capability(device) >= (9, 0)
        self._overlapped = overlapped and self._hopper

    def __call__(self, x: Tensor, timestep: Tensor, condition: Tensor) -> Tensor:
        """Predictions `[n, H, A]` for chunks `[n, H, A]`, encoded timesteps and conditions `[n, F]`; in x's dtype."""
        with torch.cuda.device_of(x):  # Triton launches on the current device
            return self._denoise(x.contiguous(), timestep.contiguous(), condition.contiguous())

    def _denoise(self, x: Tensor, timestep: Tensor, condition: Tensor) -> Tensor:
        h, film = x, (timestep, condition)
        skips: list[Tensor] = []
        for level in self._layers.down:
            skips.append(self._level(level, (h,), film))
            h = self._resampled(level, skips[-1])
        h = self._level(self._layers.middle, (h,), film)
        for level in self._layers.up:
            h = self._resampled(level, self._level(level, (h, skips.pop()), film))
        head = self._layers.head.convolution
        h = self._finish(head, self._convolve(head, (h,)), self._layers.head.norm)
        return self._at_once(self._layers.projection, h, x.dtype)

    def _level(self, level: Level[Tiled], x: Features, film: tuple[Tensor, Tensor]) -> Tensor:
        first, second = level.blocks
        return self._block(second, (self._block(first, x, film),), film)

    def _block(self, block: Block[Tiled], x: Features, film: tuple[Tensor, Tensor]) -> Tensor:
        first, second = block.first.convolution, block.second.convolution
        begun = self._convolve(first, x)
        h = self._finish(first, begun, block.first.norm, film=FilmInput(*film, block.film))
        ended = self._convolve(second, (h,))
        return self._finish(second, ended, block.second.norm, residual=self._residual(first, x, begun))

    def _residual(self, first: Tiled, x: Features, begun: Sums) -> Residual:
        """The residual of a block: the second section of its first convolution if it has one, else the block's input."""
        if first.sections == 2:
            return Residual(begun.parts, first.bias[1])
        features = x[0] if len(x) == 1 else torch.cat(x, dim=2)
        return Residual(features.view(1, -1, 1, features.shape[2]))

    def _resampled(self, level: Level[Tiled], x: Tensor) -> Tensor:
        """Resamples features to the next level's resolution; a row's sections are successive steps."""
        convolution = level.resample
        if convolution is None:
            return x
        if convolution.blocks(convolution.taps[0]) <= MOST_BLOCKS_AT_ONCE:
            return self._at_once(convolution, x, self._type)
        sums = self._convolve(convolution, (x,))
        turns = Sums(sums.parts.flatten(1, 2).unsqueeze(2), sums.steps * convolution.sections)
        return self._finish(convolution, turns)

    def _convolve(self, convolution: Tiled, x: Features) -> Sums:
        """Computes the sums of all sections, without their biases."""
        steps = -(-x[0].shape[1] // convolution.stride)
        rows = len(x[0]) * steps
        shape = convolution.splits(rows), rows, convolution.sections, convolution.columns
        parts = x[0].new_empty(shape, dtype=torch.float32)
        self._product(convolution, x, parts)
        return Sums(parts, steps)

    def _at_once(self, convolution: Tiled, x: Tensor, dtype: torch.dtype) -> Tensor:
        """Computes the convolution with its bias in one kernel."""
        n, steps = len(x), -(-x.shape[1] // convolution.stride)
        out = x.new_empty(1, n * steps, convolution.sections, convolution.columns, dtype=dtype)
        self._product(convolution, (x,), out, biased=True)
        return out.view(n, -1, convolution.columns)

    def _product(self, convolution: Tiled, x: Features, out: Tensor, biased: bool = False) -> None:
        """Computes the sums of all sections, including the bias on request."""
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
            num_stages=convolution.stages(rows),
            **self._launch(not entry),
        )

    def _finish(
        self,
        convolution: Tiled,
        sums: Sums,
        norm: Normalisation | None = None,
        film: FilmInput | None = None,
        residual: Residual | None = None,
    ) -> Tensor:
        """Applies bias, normalisation, Mish, FiLM and residual, as far as they are given."""
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
        """Options for launching a kernel; before an overlapped one, the previous kernel must be one of these."""
        return {"launch_pdl": True} if self._overlapped and after_a_kernel else {}

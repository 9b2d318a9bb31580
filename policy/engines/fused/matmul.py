"""The U-Net as PyTorch's matrix products, which its compiler surrounds with fused kernels."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from paradp.policy.engines.fused.network import ChannelsLastUnet, Features
from paradp.policy.engines.fused.packing import Block, Convolution, NormalisedConvolution, Section, pack
from paradp.policy.networks.unet import ConditionalUnet1D


@dataclass(frozen=True)
class Product:
    """A section as one matrix product: weight `[taps · channels in, channels out]`."""

    weight: Tensor
    bias: Tensor
    taps: int
    padding: int
    stride: int

    def __call__(self, x: Tensor) -> Tensor:
        """The sums `[n, h, channels out]` for features `[n, H, channels in]`, without the bias, in float32."""
        n, horizon, _ = x.shape
        steps = -(-horizon // self.stride)
        span = (steps - 1) * self.stride + 1
        padded = functional.pad(x, (0, 0, self.padding, max(0, span + self.taps - 1 - self.padding - horizon)))
        windows = torch.cat([padded[:, tap : tap + span : self.stride] for tap in range(self.taps)], dim=2)
        return (windows.flatten(0, 1) @ self.weight).view(n, steps, -1).float()


class MatmulUnet(ChannelsLastUnet[tuple[Product, ...], tuple[Tensor, ...]]):
    """Products in one precision, all else in float32.

    Args:
        network: whose `denoise` is computed.
        dtype: of the products.
    """

    def __init__(self, network: ConditionalUnet1D, dtype: torch.dtype):
        def product(section: Section, stride: int) -> Product:
            weight = section.weight.flatten(0, 1).to(dtype).contiguous()
            return Product(weight, section.bias, len(section.weight), section.padding, stride)

        def form(convolution: Convolution) -> tuple[Product, ...]:
            return tuple(product(section, convolution.stride) for section in convolution.sections)

        super().__init__(pack(network, form))
        self._type = dtype

    def convolve(self, convolution: tuple[Product, ...], x: Features) -> tuple[Tensor, ...]:
        joined = torch.cat(x, dim=2).to(self._type)
        return tuple(product(joined) for product in convolution)

    def normalise(self, layer: NormalisedConvolution[tuple[Product, ...]], sums: tuple[Tensor, ...]) -> Tensor:
        return self._normalised(layer, sums).to(self._type)

    def modulate(
        self, block: Block[tuple[Product, ...]], sums: tuple[Tensor, ...], timestep: Tensor, condition: Tensor
    ) -> Tensor:
        h = self._normalised(block.first, sums)
        film = slice(block.film, block.film + 2 * h.shape[2])
        scale, bias = (timestep[:, film].float() + condition[:, film].float()).unsqueeze(1).chunk(2, dim=2)
        return torch.addcmul(bias, scale, h).to(self._type)

    def add(
        self, block: Block[tuple[Product, ...]], sums: tuple[Tensor, ...], x: Features, begun: tuple[Tensor, ...]
    ) -> Tensor:
        first = block.first.convolution
        residual = begun[1] + first[1].bias if len(first) == 2 else torch.cat(x, dim=2)
        return (self._normalised(block.second, sums) + residual).to(self._type)

    def resample(self, convolution: tuple[Product, ...], x: Tensor) -> Tensor:
        sums = torch.stack([product(x) + product.bias for product in convolution], dim=2)
        return sums.flatten(1, 2).to(self._type)

    def project(self, convolution: tuple[Product, ...], h: Tensor, like: Tensor) -> Tensor:
        return (convolution[0](h) + convolution[0].bias).to(like.dtype)

    @staticmethod
    def _normalised(layer: NormalisedConvolution[tuple[Product, ...]], sums: tuple[Tensor, ...]) -> Tensor:
        norm = layer.norm
        h = sums[0] + layer.convolution[0].bias
        grouped = h.unflatten(2, (norm.groups, -1))
        variance, mean = torch.var_mean(grouped, dim=(1, 3), correction=0, keepdim=True)
        normal = ((grouped - mean) * torch.rsqrt(variance + norm.eps)).flatten(2)
        return functional.mish(normal * norm.weight + norm.bias)

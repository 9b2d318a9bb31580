"""The 1-D U-Net in PyTorch operations with channels last: each convolution is one matrix product.

In bf16, with the CPU's matrix instructions (AMX), OpenVINO computes this form faster than convolutions, whose normalisations
run over channels that are far apart in memory.
"""

import torch
from torch import Tensor
from torch.nn import functional

from paradp.policy.engines.unet_layers import Block, Convolution, Level, NormalisedConvolution, Section, pack
from paradp.policy.networks.unet import ConditionalUnet1D


class ChannelsLastUnet:
    """Computes a network's `denoise`, with the same arguments.

    Args:
        network: the network; its weights are shared where their layout allows it.
    """

    def __init__(self, network: ConditionalUnet1D):
        self._layers = pack(network, lambda convolution: convolution)

    def denoise(self, x: Tensor, timestep: Tensor, condition: Tensor) -> Tensor:
        """Predictions `[n, H, A]` for chunks `[n, H, A]`, encoded timesteps and encoded conditions, `[n, F]` each."""
        film = (timestep + condition).unsqueeze(1)
        h, skips = x, []
        for level in self._layers.down:
            skips.append(_level(level, h, film))
            h = _resampled(level, skips[-1])
        h = _level(self._layers.middle, h, film)
        for level in self._layers.up:
            h = _resampled(level, _level(level, torch.cat([h, skips.pop()], 2), film))
        [h] = _convolved(self._layers.head.convolution, h)
        [out] = _convolved(self._layers.projection, _normalised(self._layers.head, h))
        return out


def _level(level: Level[Convolution], x: Tensor, film: Tensor) -> Tensor:
    first, second = level.blocks
    return _block(second, _block(first, x, film), film)


def _block(block: Block[Convolution], x: Tensor, film: Tensor) -> Tensor:
    first, *residual = _convolved(block.first.convolution, x)
    channels = first.shape[2]
    scale, bias = film[..., block.film : block.film + 2 * channels].split(channels, 2)
    [second] = _convolved(block.second.convolution, torch.addcmul(bias, scale, _normalised(block.first, first)))
    return _normalised(block.second, second) + (residual[0] if residual else x)


def _resampled(level: Level[Convolution], x: Tensor) -> Tensor:
    """Resamples; two sections are the even and the odd steps."""
    return x if level.resample is None else torch.stack(_convolved(level.resample, x), 2).flatten(1, 2)


def _convolved(convolution: Convolution, x: Tensor) -> list[Tensor]:
    """Each section's `[n, steps, channels out]` for x `[n, steps in, channels in]`."""
    steps = -(-x.shape[1] // convolution.stride)
    return [_product(section, x, steps, convolution.stride) for section in convolution.sections]


def _product(section: Section, x: Tensor, steps: int, stride: int) -> Tensor:
    """The windows of all taps side by side, `[n, steps, taps · channels in]`, times the weight."""
    taps = len(section.weight)
    beyond = (steps - 1) * stride + taps - section.padding - x.shape[1]
    x = functional.pad(x, (0, 0, section.padding, beyond))
    windows = torch.cat([x[:, tap : tap + (steps - 1) * stride + 1 : stride] for tap in range(taps)], 2)
    return windows @ section.weight.flatten(0, 1) + section.bias


def _normalised(layer: NormalisedConvolution[Convolution], h: Tensor) -> Tensor:
    """Group normalisation and Mish. In bf16 OpenVINO's own normalisation takes longer than the products."""
    norm = layer.norm
    grouped = h.unflatten(2, (norm.groups, -1))
    apart = grouped - grouped.mean((1, 3), keepdim=True)
    variance = apart.square().mean((1, 3), keepdim=True)
    scaled = (apart * (variance + norm.eps).rsqrt()).flatten(2)
    return functional.mish(scaled * norm.weight + norm.bias)

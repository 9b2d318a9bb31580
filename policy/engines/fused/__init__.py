"""The 1-D U-Net for a GPU: channels last, convolutions as matrix products, few kernels."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from paradp.policy.engines.fused.tiles import tile
from paradp.policy.engines.unet_layers import pack
from paradp.policy.networks.unet import ConditionalUnet1D

Denoise = Callable[[Tensor, Tensor, Tensor], Tensor]
# Rows · parameters below which overlapped kernels are faster in bf16. On an H200 (docs/results/gpu.md) they are still faster
# at 100 rows of 249 million parameters, 2.5e10, by 3 %. If the kernels fill the GPU anyway, as in fp32, overlap costs time.
MOST_OVERLAPPED = 3e10


def fused_unet(network: ConditionalUnet1D, dtype: torch.dtype) -> Denoise:
    """Makes a function that computes a network's `denoise` for inference with Triton kernels, on a copy of the weights.

    It takes chunks `[n, H, A]` and encoded timesteps and conditions `[n, F]`, of any floating-point dtypes, and returns
    predictions in the chunks' dtype. The launched work depends only on the number of rows, never on values. The first call
    for a number of rows compiles.

    Args:
        network: float32, on the device.
        dtype: float32, computed without TF32, or bfloat16.
    """
    from paradp.policy.engines.fused.tiled import TiledUnet  # only where Triton is installed

    layers = pack(network, partial(tile, dtype))
    apart, overlapped = (TiledUnet(layers, dtype, overlapped) for overlapped in (False, True))
    parameters = sum(parameter.numel() for parameter in network.parameters())

    def denoise(x: Tensor, timestep: Tensor, condition: Tensor) -> Tensor:
        unet = overlapped if overlapping_pays(len(x), parameters, dtype) else apart
        return unet(x, timestep, condition)

    return denoise


def overlapping_pays(rows: int, parameters: int, dtype: torch.dtype) -> bool:
    """Whether a call takes less time if each kernel starts before the previous one has ended."""
    return dtype == torch.bfloat16 and rows * parameters < MOST_OVERLAPPED

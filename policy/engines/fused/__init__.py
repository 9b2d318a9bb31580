"""The 1-D U-Net for a GPU: channels last, convolutions as matrix products, few kernels."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from paradp.policy.engines.fused.packing import pack
from paradp.policy.engines.fused.tiles import tile
from paradp.policy.networks.unet import ConditionalUnet1D

Denoise = Callable[[Tensor, Tensor, Tensor], Tensor]
# Rows · parameters below which overlapped kernels are faster in bf16: on an H200 (docs/results/gpu.md) still at 100 rows of
# 249 million parameters, 2.5e10, by 3 %. Where the kernels fill the card without it, as those of fp32 do, it takes time.
MOST_OVERLAPPED = 3e10


def fused_unet(network: ConditionalUnet1D, dtype: torch.dtype) -> Denoise:
    """What computes a network's `denoise` for inference by Triton's kernels; it keeps weights of its own.

    It takes chunks `[n, H, A]` and encoded timesteps and conditions `[n, F]`, of any floating types, and returns predictions
    in the chunks' type. It launches the same work whatever the values are: whether kernels overlap follows from the number
    of rows. The first call with a number of rows compiles.

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
    """Whether a call takes less time when each kernel begins before the last one has ended."""
    return dtype == torch.bfloat16 and rows * parameters < MOST_OVERLAPPED

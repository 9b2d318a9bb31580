"""The 1-D U-Net for a GPU: channels last, convolutions as matrix products, few kernels."""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from paradp.policy.networks.unet import ConditionalUnet1D

# `overlapped`: of Triton, each kernel beginning before the last one has ended.
Kernels = Literal["triton", "overlapped", "matmul"]
Denoise = Callable[[Tensor, Tensor, Tensor], Tensor]


def fused_unet(network: ConditionalUnet1D, dtype: torch.dtype, kernels: Kernels) -> Denoise:
    """What computes a network's `denoise` for inference, with products in this type; it keeps weights of its own.

    It takes chunks `[n, H, A]` and encoded timesteps and conditions `[n, F]`, of any floating types, and returns predictions
    in the chunks' type. It launches the same work whatever the values are. The first call with a number of rows compiles.

    Args:
        network: float32, on the device.
        dtype: float32, computed without TF32 as long as PyTorch's matrix products are, or bfloat16.
        kernels: who computes it.
    """
    if kernels == "matmul":
        from paradp.policy.engines.fused.matmul import MatmulUnet

        return torch.compile(MatmulUnet(network, dtype), dynamic=False, fullgraph=True)
    from paradp.policy.engines.fused.tiled import TiledUnet

    return TiledUnet(network, dtype, overlapped=kernels == "overlapped")

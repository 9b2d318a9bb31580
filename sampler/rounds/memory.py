"""Fills and copies CPU buffers with numpy, which does not use PyTorch's threads.

PyTorch uses several threads for tensors of more than about ten thousand numbers. Afterwards the threads busy-wait for some
milliseconds, on cores that the engine's own threads need: a network in OpenVINO took up to twice the time.
"""

import numpy as np
import torch
from torch import Tensor

_TYPES = {torch.float32: np.float32, torch.float64: np.float64, torch.int64: np.int64}


def shared(*tensors: Tensor) -> bool:
    """Whether numpy can use the memory of these tensors."""
    return all(tensor.device.type == "cpu" and tensor.dtype in _TYPES for tensor in tensors)


def zeros(shape: tuple[int, ...], like: Tensor) -> Tensor:
    """Zeros with the type and device of another tensor."""
    return torch.from_numpy(np.zeros(shape, _TYPES[like.dtype])) if shared(like) else like.new_zeros(shape)


def copy(target: Tensor, source: Tensor) -> None:
    """Copies a tensor on the same device."""
    if shared(target, source):
        np.copyto(target.numpy(), source.detach().numpy())
    else:
        target.copy_(source)


def gather(source: Tensor, rows: Tensor) -> Tensor:
    """`source[rows]`."""
    return torch.from_numpy(source.numpy()[rows.numpy()]) if shared(source, rows) else source[rows]

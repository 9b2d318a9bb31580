"""Filling and copying buffers without waking PyTorch's threads.

On a CPU PyTorch shares out whatever has more than some ten thousand numbers, and its threads then wait for more in a loop,
for milliseconds, on the cores that an engine's own threads need: a network of OpenVINO's took up to twice the time for it.
"""

import numpy as np
import torch
from torch import Tensor

_TYPES = {torch.float32: np.float32, torch.float64: np.float64, torch.int64: np.int64}


def shared(*tensors: Tensor) -> bool:
    """Whether numpy can work on the memory of these tensors."""
    return all(tensor.device.type == "cpu" and tensor.dtype in _TYPES for tensor in tensors)


def zeros(shape: tuple[int, ...], like: Tensor) -> Tensor:
    """Zeros of another tensor's type, where that is."""
    return torch.from_numpy(np.zeros(shape, _TYPES[like.dtype])) if shared(like) else like.new_zeros(shape)


def copy(target: Tensor, source: Tensor) -> None:
    """Copies a tensor of the same device."""
    if shared(target, source):
        np.copyto(target.numpy(), source.detach().numpy())
    else:
        target.copy_(source)


def gather(source: Tensor, rows: Tensor) -> Tensor:
    """`source[rows]`."""
    return torch.from_numpy(source.numpy()[rows.numpy()]) if shared(source, rows) else source[rows]

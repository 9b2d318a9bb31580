"""Computes the wide convolutions of a live network on a CPU as matrix products, with the weights as they are."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, pad
from torch.overrides import TorchFunctionMode

# Bytes of a weight from which a product is used. PyTorch's convolution rearranges its weight at every call, which takes
# longer than the convolution of a few rows.
LEAST_BYTES = 8 * 2**20


class WideConvolutions(TorchFunctionMode):
    """While it is entered, `torch.conv1d` is a matrix product of unfolded inputs where the weight is wide."""

    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        called = _conv1d if function is torch.conv1d else function
        return called(*args, **(kwargs or {}))


def has_wide_convolutions(network: nn.Module) -> bool:
    """Whether products would be used for a network on a CPU."""
    return any(isinstance(one, nn.Conv1d) and _is_wide(one.weight) for one in network.modules())


def _is_wide(weight: Tensor) -> bool:
    return weight.dtype == torch.float32 and weight.numel() * weight.element_size() >= LEAST_BYTES


def _conv1d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor:
    plain = input.ndim == 3 and groups == 1 and not isinstance(padding, str)
    if not (plain and weight.device.type == "cpu" and _is_wide(weight)) or torch.is_autocast_enabled("cpu"):
        return torch.conv1d(input, weight, bias, stride, padding, dilation, groups)
    [step], [zeros], [apart] = (one if isinstance(one, Sequence) else (one,) for one in (stride, padding, dilation))
    padded = pad(input, (zeros, zeros))
    windows = padded.unfold(2, apart * (weight.shape[2] - 1) + 1, step)[..., ::apart]
    # Contiguous also for a kernel of 1: of a view, PyTorch would compute one product per chunk.
    rows = windows.transpose(1, 2).flatten(2).contiguous()
    return linear(rows, weight.flatten(1), bias).transpose(1, 2).contiguous()

"""Scaling observations and actions to about [−1, 1] and back."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

# A quantity that varies by less than this over the whole data set is treated as constant.
CONSTANT_RANGE = 1e-4


class Normalizer(nn.Module):
    """An affine map per dimension, fitted to the limits of the data: `normalized = (value − offset) / scale`.

    The dimensions of one quantity share a scale — the three of a position, the six of a rotation — so that its geometry is
    kept and a direction in which the data hardly move is not blown up to the size of the others. A constant quantity keeps
    scale 1: it maps to 0 and its deviations stay finite.

    Args:
        offset: `[D]`, the middle of each dimension's limits.
        scale: `[D]`, half the widest range of the dimension's quantity.
    """

    offset: Tensor
    scale: Tensor

    def __init__(self, offset: Tensor, scale: Tensor):
        super().__init__()
        self.register_buffer("offset", offset)
        self.register_buffer("scale", scale)

    @classmethod
    def fit(cls, values: Tensor, parts: Mapping[str, int]) -> "Normalizer":
        """Fits to data `[N, D]` whose dimensions are the quantities `parts`: name → length, in order.

        Raises:
            ValueError: the parts do not add up to D, or a value is not finite (the message names the quantity).
        """
        if sum(parts.values()) != values.shape[-1]:
            raise ValueError(f"the quantities {dict(parts)} do not add up to {values.shape[-1]} dimensions")
        offsets, scales = [], []
        for (name, size), part in zip(parts.items(), values.split(list(parts.values()), dim=-1), strict=True):
            if not torch.isfinite(part).all():
                raise ValueError(f"{name} holds values that are not finite")
            low, high = part.amin(0), part.amax(0)
            widest = (high - low).amax()
            offsets.append((low + high) / 2)
            scales.append(torch.ones(size) if widest < CONSTANT_RANGE else (widest / 2).expand(size))
        return cls(torch.cat(offsets), torch.cat(scales))

    def normalize(self, values: Tensor) -> Tensor:
        """Data units `[…, D]` → about [−1, 1]."""
        return (values - self.offset) / self.scale

    def denormalize(self, values: Tensor) -> Tensor:
        """About [−1, 1] `[…, D]` → data units."""
        return values * self.scale + self.offset

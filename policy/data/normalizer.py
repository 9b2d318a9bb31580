"""Scales observations and actions to about [−1, 1] and back."""

from collections.abc import Mapping
from types import MappingProxyType

import torch
from torch import Tensor, nn

from paradp.policy.choices import Scaling
from paradp.policy.data.ranges import CONSTANT_RANGE
from paradp.policy.features import Feature

# Limits of an image's numbers.
_BRIGHTEST = 255.0


class Normalizer(nn.Module):
    """An affine map per dimension, fitted to the data: `normalized = (value − offset) / scale + shift`.

    Args:
        offset, scale: `[D]`, for each element of a vector, or each channel of an image.
        shift: `[D]`, the normalised value of the offset; 0 by default. For policies of other programs, which map the minimum
            to −1 and have tiny scales for constants, for which an offset in the middle is not precise enough.
    """

    offset: Tensor
    scale: Tensor
    shift: Tensor

    def __init__(self, offset: Tensor, scale: Tensor, shift: Tensor | None = None):
        super().__init__()
        self.register_buffer("offset", offset)
        self.register_buffer("scale", scale)
        self.register_buffer("shift", torch.zeros_like(offset) if shift is None else shift)

    @classmethod
    def fit(cls, values: Tensor, parts: Mapping[str, int], scaling: Scaling = "min-max") -> "Normalizer":
        """Fits to data `[N, D]` whose dimensions are the quantities `parts`: name → length, in order.

        The dimensions of one quantity share a scale — the three of a position, the six of a rotation — so that its geometry
        is kept and a direction in which the data hardly vary is not enlarged to the size of the others. A constant quantity
        has scale 1: it maps to 0 and its deviations stay finite.

        Args:
            values, parts: see above.
            scaling: `min-max` uses the middle of each dimension's limits as offset, and half the quantity's widest range as
                scale; `mean-std` the mean, and the largest standard deviation; `identity` leaves values as they are.

        Raises:
            ValueError: the parts do not add up to D, or a value is not finite (the message names the quantity).
        """
        if sum(parts.values()) != values.shape[-1]:
            raise ValueError(f"the quantities {dict(parts)} do not add up to {values.shape[-1]} dimensions")
        fits = []
        for (name, _), part in zip(parts.items(), values.split(list(parts.values()), dim=-1), strict=True):
            if not torch.isfinite(part).all():
                raise ValueError(f"{name} holds values that are not finite")
            fits.append(_fit_quantity(part, scaling))
        offsets, scales = zip(*fits, strict=True)
        return cls(torch.cat(offsets), torch.cat(scales))

    def normalize(self, values: Tensor) -> Tensor:
        """Data units `[…, D]` → about [−1, 1]."""
        return (values - self.offset) / self.scale + self.shift

    def denormalize(self, values: Tensor) -> Tensor:
        """About [−1, 1] `[…, D]` → data units."""
        return (values - self.shift) * self.scale + self.offset


class ObservationNormalizer(nn.Module):
    """A `Normalizer` for each feature of an observation.

    Args:
        parts: normalisers by feature, in the order of the network's input.
    """

    def __init__(self, parts: Mapping[str, Normalizer]):
        super().__init__()
        self._keys = tuple(parts)
        # Not by key, because names of modules must not contain dots.
        self.parts = nn.ModuleList(parts.values())

    @classmethod
    def fit(
        cls,
        observations: Mapping[str, Tensor],
        features: Mapping[str, Feature],
        scalings: Mapping[str, Scaling] = MappingProxyType({}),
    ) -> "ObservationNormalizer":
        """Fits every feature to data `[N, …]`; images that are scaled by the range of their type need no data.

        Args:
            observations: the data, by feature.
            features: the features, in the order of the network's input.
            scalings: scaling by feature; by default `min-max`, which for an image means the range of its type.

        Raises:
            ValueError: a value is not finite; the message names the feature.
        """
        fits = {}
        for key, feature in features.items():
            channels, scaling = feature.channels, scalings.get(key, "min-max")
            if feature.kind == "image" and scaling == "min-max":
                middle = torch.full((channels,), _BRIGHTEST / 2)
                fits[key] = Normalizer(middle, middle.clone())
            else:
                values = observations[key].reshape(-1, channels).float()
                fits[key] = Normalizer.fit(values, {key: channels}, scaling)
        return cls(fits)

    @classmethod
    def of(
        cls, features: Mapping[str, Feature], offset: Tensor, scale: Tensor, shift: Tensor | None = None
    ) -> "ObservationNormalizer":
        """Makes it from the concatenated numbers of all features, `[D]`; `shift` is 0 by default."""
        channels = [feature.channels for feature in features.values()]
        numbers = (offset, scale, torch.zeros_like(offset) if shift is None else shift)
        pieces = zip(features, *(some.split(channels) for some in numbers), strict=True)
        return cls({key: Normalizer(*some) for key, *some in pieces})

    @property
    def offset(self) -> Tensor:
        """The offsets of all features, concatenated, `[D]`."""
        return torch.cat([part.offset for part in self.parts])  # type: ignore[misc]

    @property
    def scale(self) -> Tensor:
        """The scales of all features, concatenated, `[D]`."""
        return torch.cat([part.scale for part in self.parts])  # type: ignore[misc]

    @property
    def shift(self) -> Tensor:
        """The shifts of all features, concatenated, `[D]`."""
        return torch.cat([part.shift for part in self.parts])  # type: ignore[misc]

    def normalize(self, observations: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Data units, `[…, *shape]` each → about [−1, 1], in the order of the network's input."""
        parts = zip(self._keys, self.parts, strict=True)
        return {key: part.normalize(observations[key]) for key, part in parts}  # type: ignore[operator]


def statistics_size(features: Mapping[str, Feature]) -> int:
    """The number of offsets, and of scales, of all features."""
    return sum(feature.channels for feature in features.values())


def _fit_quantity(values: Tensor, scaling: Scaling) -> tuple[Tensor, Tensor]:
    """Computes offset and scale `[D]` of one quantity's values `[N, D]`."""
    size = values.shape[-1]
    if scaling == "identity":
        return torch.zeros(size), torch.ones(size)
    if scaling == "mean-std":
        offset, spread = values.mean(0), 2 * values.std(0, correction=0)
    else:
        low, high = values.amin(0), values.amax(0)
        offset, spread = (low + high) / 2, high - low
    widest = spread.amax()
    return offset, torch.ones(size) if widest < CONSTANT_RANGE else (widest / 2).expand(size)

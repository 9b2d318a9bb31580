"""Converts our normalisers to LeRobot's statistics, such that LeRobot's formula computes the same numbers bit by bit."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from paradp.bridges.lerobot_config import LeRobotFeature, Mode
from paradp.policy.data.normalizer import Normalizer

_BRIGHTEST, _EPSILON = 255.0, 1e-8
_NEIGHBOURS = 4  # on each side of the first guess


@dataclass(frozen=True)
class Scaled:
    """Modes by type of feature, and statistics by feature and name."""

    modes: Mapping[str, Mode]
    statistics: Mapping[str, Tensor]

    def with_more(self, others: "Scaled") -> "Scaled":
        """Merges it with that of other features."""
        return Scaled({**self.modes, **others.modes}, {**self.statistics, **others.statistics})


def scaled(
    features: Mapping[str, LeRobotFeature], parts: Mapping[str, Sequence[Normalizer]], inverse: bool = False
) -> Scaled:
    """Returns the modes and statistics with which LeRobot scales features as our normalisers do.

    Args:
        features: by LeRobot's keys.
        parts: for each of LeRobot's keys, the normalisers of its quantities, in order.
        inverse: whether they are inverted: LeRobot adds ε to a standard deviation only when it normalises.
    """
    joined = {
        key: Normalizer(*(torch.cat([getattr(one, what) for one in parts[key]]) for what in ("offset", "scale", "shift")))
        for key in features
    }
    modes: dict[str, Mode] = {}
    for kind in dict.fromkeys(one.type for one in features.values()):
        asked = {_mode(joined[key], _unit(one)) for key, one in features.items() if one.type == kind}
        modes[kind] = asked.pop() if len(asked) == 1 else "MEAN_STD"
    statistics: dict[str, Tensor] = {}
    for key, one in features.items():
        shape = (one.shape[0], 1, 1) if one.type == "VISUAL" else (one.shape[0],)
        found = _statistics(joined[key], modes[one.type], _unit(one), 0.0 if inverse else _EPSILON)
        statistics |= {f"{key}.{name}": tensor.reshape(shape) for name, tensor in found.items()}
    return Scaled(modes, statistics)


def _unit(feature: LeRobotFeature) -> float:
    """Our value for LeRobot's value of 1: LeRobot's images have values in [0, 1], ours are bytes."""
    return _BRIGHTEST if feature.type == "VISUAL" else 1.0


def _mode(normalizer: Normalizer, unit: float) -> Mode:
    if (normalizer.shift == -1).all():
        return "MIN_MAX"
    plain = not normalizer.shift.any() and not normalizer.offset.any() and bool((normalizer.scale == unit).all())
    return "IDENTITY" if plain else "MEAN_STD"


def _statistics(normalizer: Normalizer, mode: Mode, unit: float, epsilon: float) -> dict[str, Tensor]:
    offset, scale, shift = normalizer.offset, normalizer.scale, normalizer.shift
    if mode == "MIN_MAX":
        low = _solved(lambda value: unit * value, offset / unit, offset)

        def half(high: Tensor) -> Tensor:
            span = high - low
            return unit * (torch.where(span == 0, torch.tensor(_EPSILON), span) / 2)

        return {"min": low, "max": _solved(half, low + 2 * scale / unit, scale, low)}
    # A normaliser whose offset is neither the minimum nor the middle: convert the offset to the middle's.
    middle = torch.where(shift == 0, offset, offset - shift * scale)
    mean = _solved(lambda value: unit * value, middle / unit, middle)
    return {"mean": mean, "std": _solved(lambda value: unit * (value + epsilon), scale / unit - epsilon, scale)}


def _solved(compute: Callable[[Tensor], Tensor], guess: Tensor, wanted: Tensor, *others: Tensor) -> Tensor:
    """Searches the guess, its floating-point neighbours and others for the value whose result is nearest to `wanted`."""
    candidates = [*others, guess]
    for end in (torch.inf, -torch.inf):
        near = guess
        for _ in range(_NEIGHBOURS):
            near = torch.nextafter(near, torch.tensor(end))
            candidates.append(near)
    every = torch.stack(candidates)
    misses = torch.stack([(compute(one) - wanted).abs() for one in candidates])
    return every.gather(0, misses.argmin(0)[None])[0]

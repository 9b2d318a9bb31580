"""Our normalisers as LeRobot's statistics, so that its formula makes the same numbers of them to the bit."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from paradp.bridges.lerobot_config import Mode, TheirFeature
from paradp.policy.data.normalizer import Normalizer

_BRIGHTEST, _EPSILON = 255.0, 1e-8
_NEIGHBOURS = 4  # on either side of a guess


@dataclass(frozen=True)
class Scaled:
    """Modes by type of feature, and statistics by feature and name."""

    modes: Mapping[str, Mode]
    statistics: Mapping[str, Tensor]

    def with_more(self, others: "Scaled") -> "Scaled":
        """With those of other features."""
        return Scaled({**self.modes, **others.modes}, {**self.statistics, **others.statistics})


def scaled(features: Mapping[str, TheirFeature], parts: Mapping[str, Sequence[Normalizer]], inverse: bool = False) -> Scaled:
    """LeRobot's way to scale features as our normalisers do.

    Args:
        features: by LeRobot's keys.
        parts: by LeRobot's keys, the normalisers of the quantities in them, in order.
        inverse: as they are undone: LeRobot adds ε to a standard deviation in one direction only.
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


def _unit(feature: TheirFeature) -> float:
    """LeRobot's images are numbers from 0 to 1, ours bytes."""
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
    # One that is neither of the least nor of the middle: its offset is that of a middle.
    middle = torch.where(shift == 0, offset, offset - shift * scale)
    mean = _solved(lambda value: unit * value, middle / unit, middle)
    return {"mean": mean, "std": _solved(lambda value: unit * (value + epsilon), scale / unit - epsilon, scale)}


def _solved(compute: Callable[[Tensor], Tensor], guess: Tensor, wanted: Tensor, *others: Tensor) -> Tensor:
    """The number at or beside a guess, or another one, of which what is wanted is computed; else the nearest to that."""
    candidates = [*others, guess]
    for end in (torch.inf, -torch.inf):
        near = guess
        for _ in range(_NEIGHBOURS):
            near = torch.nextafter(near, torch.tensor(end))
            candidates.append(near)
    every = torch.stack(candidates)
    misses = torch.stack([(compute(one) - wanted).abs() for one in candidates])
    return every.gather(0, misses.argmin(0)[None])[0]

"""`statistics.json` of a checkpoint: its normalisers in numbers."""

from dataclasses import dataclass
from pathlib import Path

import torch
from pydantic import ConfigDict, TypeAdapter, with_config
from torch import Tensor

from paradp.policy import Normalizer, PolicySpec
from paradp.policy.data.normalizer import ObservationNormalizer, statistics_size
from paradp.policy.files.limits import STATISTICS_BYTES
from paradp.policy.files.reading import read_validated
from paradp.policy.learning.lesson import TrainedPolicy


@with_config(ConfigDict(extra="forbid"))
@dataclass(frozen=True)
class _Statistics:
    """`statistics.json`: offset and scale of every dimension and of every channel of images, in the order of the spec.

    The shifts are only present if they are not zero, in policies that were converted from other programs.
    """

    observation_offset: list[float]
    observation_scale: list[float]
    action_offset: list[float]
    action_scale: list[float]
    observation_shift: list[float] | None = None
    action_shift: list[float] | None = None


_STATISTICS = TypeAdapter(_Statistics)


def written_statistics(trained: TrainedPolicy) -> bytes:
    """The content of `statistics.json` for a policy."""
    observation, action = trained.observation_normalizer, trained.action_normalizer
    statistics = _Statistics(
        observation.offset.tolist(),
        observation.scale.tolist(),
        action.offset.tolist(),
        action.scale.tolist(),
        observation.shift.tolist() if observation.shift.any() else None,
        action.shift.tolist() if action.shift.any() else None,
    )
    return _STATISTICS.dump_json(statistics, indent=2, exclude_none=True)


def read_statistics(path: Path, spec: PolicySpec) -> tuple[ObservationNormalizer, Normalizer]:
    """The normalisers of observations and actions in a checkpoint's directory.

    Raises:
        ValueError: the file cannot be read, or its numbers do not fit the specification or cannot scale.
        OSError: the file is missing or cannot be read.
    """
    s = read_validated(path / "statistics.json", STATISTICS_BYTES, _STATISTICS)
    size = statistics_size(spec.observed)
    observation = _checked(path, "observation", s.observation_offset, s.observation_scale, s.observation_shift, size)
    action = _checked(path, "action", s.action_offset, s.action_scale, s.action_shift, spec.action_size)
    return ObservationNormalizer.of(spec.observed, *observation), Normalizer(*action)


def _checked(
    path: Path, what: str, offset: list[float], scale: list[float], shift: list[float] | None, size: int
) -> tuple[Tensor, Tensor, Tensor]:
    shift = [0.0] * size if shift is None else shift
    if not len(offset) == len(scale) == len(shift) == size:
        raise ValueError(f"{path}/statistics.json: {what} has {len(offset)} and {len(scale)} dimensions, config.json {size}")
    tensors = torch.tensor(offset), torch.tensor(scale), torch.tensor(shift)
    if not all(torch.isfinite(t).all() for t in tensors) or (tensors[1] <= 0).any():
        raise ValueError(f"{path}/statistics.json: {what} statistics must be finite and scales positive")
    return tensors

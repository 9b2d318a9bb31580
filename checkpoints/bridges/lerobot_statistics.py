"""Reads LeRobot's normalisation: from its processors, or in older checkpoints from the statistics among the weights."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from paradp.bridges.lerobot_config import ACTION, LeRobotConfig, LeRobotFeature, Mode
from paradp.policy.data.normalizer import Normalizer
from paradp.policy.files.limits import DOCUMENT_BYTES, STATISTICS_BYTES
from paradp.policy.files.reading import read_object
from paradp.policy.files.tensors import TensorFile

BEFORE, AFTER = "policy_preprocessor.json", "policy_postprocessor.json"
# The two statistics that each mode uses.
_TAKES: dict[Mode, tuple[str, str]] = {
    "MEAN_STD": ("mean", "std"),
    "MIN_MAX": ("min", "max"),
    "QUANTILES": ("q01", "q99"),
    "QUANTILE10": ("q10", "q90"),
}
_RENAMES = "rename_observations_processor"
# Processor steps that do not change numbers.
_HARMLESS = (_RENAMES, "to_batch_processor", "device_processor")
_BRIGHTEST = 255.0
_EPSILON = 1e-8
# The modules that held statistics up to LeRobot 0.3.
IN_MODEL = ("normalize_inputs.", "normalize_targets.", "unnormalize_outputs.")


@dataclass(frozen=True)
class Side:
    """The scaling of one pipeline: of the observations, or of the actions.

    Attributes:
        path: the file that describes it.
        modes: for each type of feature; other types are not scaled.
        scaled: keys of the features that are scaled; `None` for all.
        statistics: by feature and name, such as `observation.state.min`.
        epsilon: replaces a range of 0, and is added to a standard deviation.
        renamed: key of an incoming observation → the policy's key for it.
    """

    path: Path
    modes: Mapping[str, Mode]
    statistics: Mapping[str, Tensor]
    scaled: Collection[str] | None = None
    epsilon: float = _EPSILON
    renamed: Mapping[str, str] | None = None

    def normalizer(self, key: str, feature: LeRobotFeature, inverse: bool = False) -> Normalizer:
        """Returns LeRobot's formula for a feature as an affine map.

        It maps a mean to 0, and a minimum or a constant to −1. For images the map takes bytes, which LeRobot converts to
        [0, 1] beforehand.

        Args:
            key, feature: which.
            inverse: whether the map will be inverted, as for actions: LeRobot adds ε to a standard deviation only
                when it normalises.

        Raises:
            ValueError: a statistic is missing, of another length, or not finite.
        """
        channels, unit = feature.shape[0], _BRIGHTEST if feature.type == "VISUAL" else 1.0
        mode = self.modes.get(feature.type, "IDENTITY") if self.scaled is None or key in self.scaled else "IDENTITY"
        if mode == "IDENTITY":
            return Normalizer(torch.zeros(channels), torch.full((channels,), unit))
        first, second = (self._statistic(key, name, channels) for name in _TAKES[mode])
        if mode == "MEAN_STD":
            # A constant action is its mean: LeRobot multiplies by a deviation of 0, which this map cannot.
            scale = torch.where(second == 0, self.epsilon, second) if inverse else second + self.epsilon
            return Normalizer(unit * first, unit * self._positive(key, scale))
        span = second - first
        half = torch.where(span == 0, torch.tensor(self.epsilon), span) / 2
        return Normalizer(unit * first, unit * self._positive(key, half), -torch.ones(channels))

    def _statistic(self, key: str, name: str, channels: int) -> Tensor:
        if (found := self.statistics.get(f"{key}.{name}")) is None:
            raise ValueError(f"{self.path} has no statistics {name!r} of {key!r}")
        if found.numel() != channels:
            raise ValueError(f"{self.path}: the {name!r} of {key!r} has {found.numel()} numbers, not {channels}")
        if not torch.isfinite(found).all():
            raise ValueError(f"{self.path}: the {name!r} of {key!r} is not finite: the policy was saved without statistics")
        return found.flatten()

    def _positive(self, key: str, scale: Tensor) -> Tensor:
        if not (scale > 0).all():
            raise ValueError(f"{self.path}: the statistics of {key!r} leave no range, or one below 0")
        return scale


@dataclass(frozen=True)
class Scales:
    """The scaling before the policy, of observations, and after it, of actions."""

    before: Side
    after: Side


def read_scales(folder: Path, config: LeRobotConfig, weights: TensorFile) -> Scales:
    """Reads the scaling of a checkpoint's observations and actions.

    Raises:
        ValueError: there are no statistics, a processor has an unknown step, or a file cannot be read.
        OSError: a file is missing or cannot be read.
    """
    if (folder / BEFORE).exists() or (folder / AFTER).exists():
        before = _read_side(folder, BEFORE, "normalizer_processor")
        return Scales(before, _read_side(folder, AFTER, "unnormalizer_processor"))
    if not any(name.startswith(IN_MODEL) for name in weights.tensors):
        raise ValueError(f"{folder} has no statistics: {BEFORE} is missing, and the weights contain none")
    inputs = _from_weights(weights, "normalize_inputs.", config.seen)
    outputs = _from_weights(weights, "unnormalize_outputs.", {ACTION: config.action})
    modes = config.normalization_mapping
    return Scales(Side(weights.path, modes, inputs), Side(weights.path, modes, outputs))


def _read_side(folder: Path, name: str, scaling: str) -> Side:
    path = folder / name
    listed = [*map(_named, _steps(path))]
    steps, order = dict(listed), [kind for kind, _ in listed]
    for kind in order:
        if kind not in (*_HARMLESS, scaling):
            raise ValueError(f"{path} has the step {kind!r:.80}, which is not known here")
        if order.count(kind) > 1:
            raise ValueError(f"{path} has the step {kind} more than once, which is not supported")
    if scaling not in steps:
        raise ValueError(f"{path} has no step {scaling}")
    if _RENAMES in steps and order.index(_RENAMES) > order.index(scaling):
        raise ValueError(f"{path} has the step {_RENAMES} after {scaling}, which is not supported")
    settings = {kind: _object(path, step.get("config", {})) for kind, step in steps.items()}
    if settings.get("device_processor", {}).get("float_dtype") not in (None, "float32"):
        raise ValueError(f"{path}: float_dtype must be float32; other types are not known here")
    own = settings[scaling]
    if unknown := own.keys() - {"eps", "features", "norm_map"}:
        raise ValueError(f"{path}: the step {scaling} has the setting {min(unknown)!r:.80}, which is not known here")
    return Side(
        path,
        _modes(path, own.get("norm_map")),
        _read_statistics(folder, steps[scaling].get("state_file"), path),
        _object(path, own.get("features")).keys(),
        _epsilon(path, own.get("eps", _EPSILON)),
        _renamed(path, settings.get(_RENAMES, {}).get("rename_map", {})),
    )


def _steps(path: Path) -> list[dict[str, Any]]:
    steps = read_object(path, DOCUMENT_BYTES).get("steps")
    if not isinstance(steps, list) or not all(isinstance(step, dict) for step in steps):
        raise ValueError(f"{path} cannot be read: steps must be a list of objects")
    return steps


def _named(step: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    return str(step.get("registry_name") or step.get("class")), step


def _object(path: Path, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{path} cannot be read: the config of a step must be an object")
    return value


def _modes(path: Path, modes: Any) -> dict[str, Mode]:
    known = ("IDENTITY", *_TAKES)
    if not isinstance(modes, dict) or not all(mode in known for mode in modes.values()):
        raise ValueError(f"{path}: norm_map must give types of features one of {', '.join(known)}")
    return modes


def _epsilon(path: Path, value: Any) -> float:
    if type(value) not in (int, float) or not 0 < value < 1:
        raise ValueError(f"{path}: eps must be a number between 0 and 1, not {value!r:.40}")
    return float(value)


def _renamed(path: Path, names: Any) -> dict[str, str]:
    if not isinstance(names, dict) or not all(isinstance(name, str) for name in names.values()):
        raise ValueError(f"{path}: rename_map must give keys other names")
    if len(set(names.values())) < len(names):
        raise ValueError(f"{path}: rename_map gives several keys one name")
    return names


def _read_statistics(folder: Path, name: Any, said_in: Path) -> dict[str, Tensor]:
    # Only names that LeRobot uses, so that the list of files that a policy is read from is complete.
    if not isinstance(name, str) or name != Path(name).name or not name.startswith("policy_"):
        raise ValueError(f"{said_in} names no file of statistics beside it")
    file = TensorFile.open(folder / name, STATISTICS_BYTES)
    # No larger than the file, whose size was limited.
    found = {key: torch.zeros(stored.shape) for key, stored in file.tensors.items()}
    file.fill(found)
    return found


def _from_weights(weights: TensorFile, module: str, features: Mapping[str, LeRobotFeature]) -> dict[str, Tensor]:
    """Reads the statistics of the older form, under the names of the newer one."""
    names: dict[str, str] = {}
    for key in features:
        buffer = f"{module}buffer_{key.replace('.', '_')}."
        names |= {name: f"{key}.{name[len(buffer) :]}" for name in weights.tensors if name.startswith(buffer)}
    found = {name: torch.zeros(_small(weights, name)) for name in names}
    weights.fill(found, partly=True)
    return {names[name]: tensor for name, tensor in found.items()}


def _small(weights: TensorFile, name: str) -> tuple[int, ...]:
    stored = weights.tensors[name]
    if stored.bytes > STATISTICS_BYTES:
        raise ValueError(f"{weights.path}: {name!r:.80} is too large for statistics")
    return stored.shape

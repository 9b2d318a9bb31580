"""A checkpoint is a directory that is read without executing anything:

config.json         what the policy is for: task, observation, actions, controller, horizons, schedule, network
model.safetensors   the averaged weights
statistics.json     the normalisers
README.md           the model card
"""

import hashlib
import json
import logging
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from pydantic import ConfigDict, TypeAdapter, ValidationError, with_config
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from paradp.checkpoints.finding import check_ours, find_checkpoint
from paradp.policy import DiffusionPolicy, EngineName, Normalizer, Planner, PolicySpec, Precision, build_engine
from paradp.policy.networks import build_network
from paradp.policy.training import TrainedPolicy
from paradp.sampler import SamplerChoice

DEFAULT_SAMPLER = "auto"
_LOG = logging.getLogger(__name__)


@with_config(ConfigDict(extra="forbid"))
@dataclass(frozen=True)
class CheckpointInfo:
    """`config.json`: the policy's specification, and the digest of the weights that belong to it."""

    spec: PolicySpec
    model_sha256: str
    format: Literal[1] = 1


@with_config(ConfigDict(extra="forbid"))
@dataclass(frozen=True)
class _Statistics:
    """`statistics.json`: offset and scale of every dimension, in the order of the spec."""

    observation_offset: list[float]
    observation_scale: list[float]
    action_offset: list[float]
    action_scale: list[float]


_INFO = TypeAdapter(CheckpointInfo)
_STATISTICS = TypeAdapter(_Statistics)


def save_checkpoint(trained: TrainedPolicy, path: Path, card: str, half: bool = False) -> None:
    """Writes a checkpoint; one that was there stays whole until the new one is.

    Args:
        trained: the averaged network and its normalisers.
        path: the directory.
        card: the model card, markdown.
        half: store weights in half precision; they are computed with in float32 all the same.
    """
    partial, old = (path.with_name(f".{path.name}.{what}") for what in ("partial", "old"))
    for left_over in (partial, old):
        shutil.rmtree(left_over, ignore_errors=True)
    partial.mkdir(parents=True)
    dtype = torch.float16 if half else torch.float32
    weights = {name: tensor.to(dtype).contiguous() for name, tensor in trained.network.state_dict().items()}
    save_file(weights, partial / "model.safetensors")
    info = CheckpointInfo(trained.spec, _sha256(partial / "model.safetensors"))
    observation, action = trained.observation_normalizer, trained.action_normalizer
    statistics = _Statistics(
        observation.offset.tolist(), observation.scale.tolist(), action.offset.tolist(), action.scale.tolist()
    )
    (partial / "config.json").write_bytes(_INFO.dump_json(info, indent=2))
    (partial / "statistics.json").write_bytes(_STATISTICS.dump_json(statistics, indent=2))
    (partial / "README.md").write_text(card)
    if path.exists():
        path.rename(old)
    partial.rename(path)
    shutil.rmtree(old, ignore_errors=True)


def load_policy(
    name_or_path: str | Path,
    sampler: str | SamplerChoice = DEFAULT_SAMPLER,
    device: str = "cpu",
    sha256: str | None = None,
    engine: EngineName = "auto",
    precision: Precision = "fp32",
    batch: int = 1,
) -> DiffusionPolicy:
    """A policy, ready to plan.

    Args:
        name_or_path: a pretrained policy's name or a checkpoint's directory.
        sampler: how to denoise, such as `"ddpm"` or `"para-ddpm:window=8"`; `auto` and `auto-fast` measure what is fastest,
            once for each checkpoint, engine and batch, for up to a minute or two: the logger `paradp.policy.planner` warns
            as it begins, and says at level INFO how far it is.
        device: where to compute.
        sha256: digest that the weights must have, where a run must not go on with others.
        engine, precision: what computes the network; `auto` is the fastest that there is for the device.
        batch: how many environments will be planned together: what is compiled beforehand, and what is measured.

    Raises:
        ValueError: there is no such checkpoint, a file of it is missing, damaged or does not fit the others, the weights
            are others than asked for, or sampler, device, engine or precision are unknown.
    """
    _check_device(device)
    choice = sampler if isinstance(sampler, SamplerChoice) else SamplerChoice.parse(sampler)
    path = find_checkpoint(name_or_path)
    if sha256 is not None and read_info(path).model_sha256 != sha256:
        raise ValueError(f"the weights in {path} have changed since the run began")
    trained = load_trained(path)
    place = torch.device(device)
    trained.network.to(place).eval()
    # Before an engine is built: what is wrong with the sampler or the schedule is said at once.
    solver = SamplerChoice.parse("ddpm" if choice.measured else str(choice)).build(trained.spec.schedule)
    computes = build_engine(trained.network, trained.spec, place, engine, precision)
    planned = None
    if choice.measured:
        planned = Planner(computes, trained.network, trained.spec, place).choose(choice.name, batch)
        solver = SamplerChoice.parse(planned.sampler).build(trained.spec.schedule)
        _LOG.info("%s is %s", choice, planned.describe())
    policy = DiffusionPolicy(
        trained.spec,
        trained.network,
        trained.observation_normalizer,
        trained.action_normalizer,
        solver,
        device=place,
        engine=computes,
        planned=planned,
    )
    policy.prepare(batch)
    return policy


def load_trained(path: Path) -> TrainedPolicy:
    """The network and normalisers of a checkpoint's directory.

    Raises:
        ValueError: a file is missing, damaged or does not fit the others.
    """
    info = read_info(path)
    if _sha256(path / "model.safetensors") != info.model_sha256:
        raise ValueError(
            f"{path}/model.safetensors is not the file that config.json was written with: truncated or replaced"
        )
    network = build_network(info.spec)
    try:
        weights = load_file(path / "model.safetensors")
        network.load_state_dict({name: tensor.float() for name, tensor in weights.items()})
    except SafetensorError as error:
        raise ValueError(f"{path}/model.safetensors cannot be read: {error}") from error
    except RuntimeError as error:
        first = str(error).splitlines()[1].strip()
        raise ValueError(f"{path}/model.safetensors does not fit its config.json: {first}") from error
    return TrainedPolicy(info.spec, network, *_read_statistics(path, info.spec))


def read_info(path: Path) -> CheckpointInfo:
    """What a checkpoint is for, without its weights.

    Raises:
        ValueError: a file is missing, or `config.json` cannot be read.
    """
    check_ours(path)
    try:
        content = json.loads((path / "config.json").read_bytes())
        # Before there were other networks the U-Net's sizes stood alone.
        if isinstance(spec := content.get("spec"), dict) and "unet" in spec:
            spec["network"] = {"kind": "unet"} | spec.pop("unet")
        return _INFO.validate_python(content)
    except ValidationError as error:
        raise ValueError(f"{path}/config.json cannot be read: {first_problem(error)}") from error
    except (ValueError, AttributeError, TypeError) as error:
        raise ValueError(f"{path}/config.json cannot be read: {error}") from error


def first_problem(error: ValidationError) -> str:
    """One line on what a file got wrong: where and what."""
    problem = error.errors()[0]
    where = ".".join(str(part) for part in problem["loc"])
    return f"{where}: {problem['msg']}" if where else problem["msg"]


def _check_device(device: str) -> None:
    there = ["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
    if device not in there and not (device == "cuda" and torch.cuda.is_available()):
        raise ValueError(f"device {device!r} is not available; there is: {', '.join(there)}")


def _read_statistics(path: Path, spec: PolicySpec) -> tuple[Normalizer, Normalizer]:
    try:
        s = _STATISTICS.validate_json((path / "statistics.json").read_bytes())
    except ValidationError as error:
        raise ValueError(f"{path}/statistics.json cannot be read: {first_problem(error)}") from error
    return (
        _normalizer(path, "observation", s.observation_offset, s.observation_scale, spec.observation_size),
        _normalizer(path, "action", s.action_offset, s.action_scale, spec.action_size),
    )


def _normalizer(path: Path, what: str, offset: list[float], scale: list[float], size: int) -> Normalizer:
    if len(offset) != size or len(scale) != size:
        raise ValueError(f"{path}/statistics.json: {what} has {len(offset)} and {len(scale)} dimensions, config.json {size}")
    tensors = torch.tensor(offset), torch.tensor(scale)
    if not all(torch.isfinite(t).all() for t in tensors) or (tensors[1] <= 0).any():
        raise ValueError(f"{path}/statistics.json: {what} statistics must be finite and scales positive")
    return Normalizer(*tensors)


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()

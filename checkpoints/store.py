"""A checkpoint is a directory that is read without executing anything:

config.json         what the policy is for: task, observation, actions, controller, horizons, schedule, network
model.safetensors   the averaged weights
statistics.json     the normalisers
README.md           the model card

and, where one was trained, its draft (`paradp.checkpoints.drafts`).
"""

import errno
import hashlib
import logging
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Unpack

import torch
from pydantic import ConfigDict, TypeAdapter, ValidationError, with_config

from paradp.bridges.facts import Given
from paradp.bridges.lerobot import lerobot_digest, read_lerobot, read_lerobot_spec, weights_digest
from paradp.bridges.lerobot_card import lerobot_card
from paradp.checkpoints.drafts import read_draft
from paradp.checkpoints.fidelity import candidates_for
from paradp.checkpoints.finding import check_ours, find_checkpoint, is_theirs, old_name, put_back
from paradp.checkpoints.statistics import read_statistics, written_statistics
from paradp.policy import DiffusionPolicy, EngineName, Planner, PolicySpec, Precision, build_engine
from paradp.policy.devices import available, check_devices
from paradp.policy.engines.autotune.candidates import EXACT
from paradp.policy.files.formats import read_document
from paradp.policy.files.limits import CARD_BYTES, DOCUMENT_BYTES, STATISTICS_BYTES, WEIGHTS_BYTES
from paradp.policy.files.reading import first_problem, read_bytes, read_text, sha256
from paradp.policy.files.tensor_writing import write_tensors
from paradp.policy.files.tensors import TensorFile
from paradp.policy.files.writing import link_target, naming_file
from paradp.policy.learning.training import TrainedPolicy
from paradp.policy.networks.building import build_network, shapes_of
from paradp.sampler import SamplerChoice, Solver

DEFAULT_SAMPLER = "auto"
_LOG = logging.getLogger(__name__)


@with_config(ConfigDict(extra="forbid"))
@dataclass(frozen=True)
class CheckpointInfo:
    """`config.json`: the policy's specification, and the digest of the weights that belong to it."""

    spec: PolicySpec
    model_sha256: str
    format: Literal[1] = 1


_INFO = TypeAdapter(CheckpointInfo)


def save_checkpoint(trained: TrainedPolicy, path: Path, card: str, half: bool = False) -> None:
    """Writes a checkpoint; one that was there stays whole until the new one is.

    Args:
        trained: the averaged network and its normalisers.
        path: the directory.
        card: the model card, markdown.
        half: store weights in half precision; they are computed with in float32 all the same.

    Raises:
        OSError: it cannot be written, such as on a full disk; the old one is kept.
    """
    place = link_target(path)
    put_back(place)
    partial, old = place.with_name(f".{place.name}.partial"), old_name(place)
    for left_over in (partial, old):
        shutil.rmtree(left_over, ignore_errors=True)
    try:
        partial.mkdir(parents=True)
        _write(trained, partial, card, half)
    except OSError:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    _replace(place, partial, old)
    shutil.rmtree(old, ignore_errors=True)


def _replace(place: Path, partial: Path, old: Path) -> None:
    """Puts the new checkpoint where the old one is: two renames, for not every file system replaces a directory in one."""
    while True:
        if place.exists():
            place.rename(old)
        try:
            partial.rename(place)
            return
        except OSError as error:
            # Between the two renames whoever loads the checkpoint takes the old one for left behind, and puts it back.
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise


def _write(trained: TrainedPolicy, folder: Path, card: str, half: bool) -> None:
    dtype = torch.float16 if half else torch.float32
    weights = {name: tensor.to(dtype) for name, tensor in trained.network.state_dict().items()}
    write_tensors(folder / "model.safetensors", weights)
    info = CheckpointInfo(trained.spec, sha256(folder / "model.safetensors", WEIGHTS_BYTES))
    documents = {
        "config.json": _INFO.dump_json(info, indent=2),
        "statistics.json": written_statistics(trained),
        "README.md": card.encode(),
    }
    for name, content in documents.items():
        with naming_file(folder / name):
            (folder / name).write_bytes(content)


# Long: half of it says what can be asked for; the rest is in the order in which mistakes are to be found.
def load_policy(
    name_or_path: str | Path,
    sampler: str | SamplerChoice = DEFAULT_SAMPLER,
    device: str = "cpu",
    sha256: str | None = None,
    engine: EngineName = "auto",
    precision: Precision = "fp32",
    batch: int = 1,
    **facts: Unpack[Given],
) -> DiffusionPolicy:
    """A policy, ready to plan.

    Args:
        name_or_path: a pretrained policy's name or a checkpoint's directory; one of LeRobot's diffusion policy, too.
        sampler: how to denoise, such as `"ddpm"` or `"para-ddpm:window=8"`; `auto` and `auto-fast` measure what is fastest,
            once for each checkpoint, engine and batch: the logger `paradp.policy.engines.autotune` warns as it begins, and
            says at level INFO how far it is. `auto-fast` goes by what `paradp fidelity` measured.
        device: where to compute: `cpu`, `cuda`, `cuda:1`; over several, as in `cuda:0,cuda:1`, the rows of every call of the
            network are spread, and the rest runs on the first.
        sha256: `checkpoint_digest` that the checkpoint must have, where a run must not go on with another.
        engine, precision: what computes the network; `auto` is the fastest that there is for the device.
        batch: how many environments will be planned together: what is compiled beforehand, and what is measured.
        facts: what another program's checkpoint does not say, see `paradp.bridges.Facts`.

    Raises:
        ValueError: there is no such checkpoint, a file of it is missing, damaged or does not fit the others, the weights
            are others than asked for, sampler, device, engine or precision are unknown, or bounds were given to `auto-fast`
            that nothing measured keeps; facts are missing, or are given of a checkpoint that says them itself.
    """
    places = [torch.device(one) for one in check_devices(device, available(torch.cuda.device_count()))]
    choice = sampler if isinstance(sampler, SamplerChoice) else SamplerChoice.parse(sampler)
    path = find_checkpoint(name_or_path)
    trained = load_trained(path, facts)
    # After the files were read, so that they are those of the digest.
    if sha256 is not None and checkpoint_digest(path) != sha256:
        raise ValueError(f"the checkpoint {path} has changed since the run began")
    place = places[0]
    trained.network.to(place).eval()
    # Before an engine is built: what is wrong with the sampler or the schedule is said at once.
    solver = _solver(choice, path, trained.spec, place)
    candidates = candidates_for(choice, path, checkpoint_digest(path), trained.spec.schedule) if choice.measured else EXACT
    computes = build_engine(trained.network, trained.spec, places, engine, precision)
    planned = None
    if choice.measured:
        planned = Planner(computes, trained.network, trained.spec, place).choose(candidates, batch)
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


def build_solver(choice: SamplerChoice, path: Path, device: torch.device | str = "cpu") -> Solver:
    """The solver of a sampler for a checkpoint's directory, with the trained draft if the sampler says `draft=trained`.

    Of a sampler that must be measured first it is that of the one it is measured against.

    Raises:
        ValueError: an option is out of range, the sampler does not fit the policy's schedule, or the draft is missing,
            damaged, or another checkpoint's.
    """
    return _solver(choice, path, read_info(path).spec, device)


def _solver(choice: SamplerChoice, path: Path, spec: PolicySpec, device: torch.device | str) -> Solver:
    wanted = dict(choice.options).get("draft") == "trained"
    return choice.build_first(spec.schedule, read_draft(path, spec, checkpoint_digest(path)).to(device) if wanted else None)


def load_trained(path: Path, facts: Given | None = None) -> TrainedPolicy:
    """The network and normalisers of a checkpoint's directory, with the facts that another program's does not say.

    Raises:
        ValueError: a file is missing, damaged or does not fit the others, or the facts are missing or not needed.
    """
    if is_theirs(path):
        return read_lerobot(path, facts)
    if facts:
        raise ValueError(f"{path} is a checkpoint of paradp and says itself what it is for: leave out {', '.join(facts)}")
    info = read_info(path)
    weights = path / "model.safetensors"
    if sha256(weights, WEIGHTS_BYTES) != info.model_sha256:
        raise ValueError(f"{weights} is not the file that config.json was written with: truncated or replaced")
    file = TensorFile.open(weights, WEIGHTS_BYTES)
    normalizers = read_statistics(path, info.spec)
    try:
        # What the configuration asks for is compared with what is there before any of it is made.
        file.check_shapes(shapes_of(info.spec))
        network = build_network(info.spec)
        file.fill(network.state_dict())
    except ValueError as error:
        raise ValueError(f"{weights} does not fit its config.json: {error}") from error
    return TrainedPolicy(info.spec, network, *normalizers)


def read_info(path: Path) -> CheckpointInfo:
    """What a checkpoint is for, without its weights.

    Raises:
        ValueError: a file is missing, or `config.json` cannot be read.
    """
    if is_theirs(path):
        return CheckpointInfo(read_lerobot_spec(path), weights_digest(path))
    check_ours(path)
    content = read_document(path / "config.json", DOCUMENT_BYTES)
    # Before there were other networks the U-Net's sizes stood alone.
    if isinstance(spec := content.get("spec"), dict) and isinstance(spec.get("unet"), dict):
        spec["network"] = {"kind": "unet"} | spec.pop("unet")
    try:
        return _INFO.validate_python(content)
    except ValidationError as error:
        raise ValueError(f"{path}/config.json cannot be read: {first_problem(error)}") from error


def read_card(path: Path) -> str:
    """A checkpoint's model card; of another program's checkpoint what is known of it.

    Raises:
        ValueError: it is not text, too large, or a link that leads elsewhere.
        OSError: there is none, or it may not be read.
    """
    return lerobot_card(path) if is_theirs(path) else read_text(path / "README.md", CARD_BYTES)


def checkpoint_digest(path: Path) -> str:
    """Of all that a policy computes with: `config.json`, which holds the weights' digest, and the normalisers.

    Raises:
        ValueError: as `read_info`.
    """
    if is_theirs(path):
        return lerobot_digest(path)
    read_info(path)
    found = hashlib.sha256()
    for name, most in (("config.json", DOCUMENT_BYTES), ("statistics.json", STATISTICS_BYTES)):
        content = read_bytes(path / name, most)
        found.update(f"{name} {len(content)}\n".encode() + content)
    return found.hexdigest()

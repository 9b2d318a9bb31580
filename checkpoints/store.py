"""Checkpoints: directories with these files. Reading them executes no code.

config.json         the specification: task, observation, actions, controller, horizons, schedule, network
model.safetensors   the averaged weights
statistics.json     the normalisers
README.md           the model card

and, if one was trained, a draft (`paradp.checkpoints.drafts`).
"""

import errno
import hashlib
import logging
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, Unpack

import torch
from pydantic import ConfigDict, TypeAdapter, ValidationError, with_config

from paradp.bridges.facts import Given
from paradp.bridges.theirs import read_their_spec, read_theirs, their_card, their_digest, weights_digest
from paradp.checkpoints.drafts import DOCUMENT, WEIGHTS, read_draft
from paradp.checkpoints.fidelity import candidates_for
from paradp.checkpoints.finding import check_ours, find_checkpoint, is_theirs, old_name, put_back
from paradp.checkpoints.statistics import read_statistics, written_statistics
from paradp.policy import Autotuner, DiffusionPolicy, EngineName, PolicySpec, Precision, build_engine
from paradp.policy.devices import available, check_devices
from paradp.policy.engines.autotune.candidates import EXACT
from paradp.policy.fidelity import FILE
from paradp.policy.files.formats import read_document
from paradp.policy.files.limits import CARD_BYTES, DOCUMENT_BYTES, STATISTICS_BYTES, WEIGHTS_BYTES
from paradp.policy.files.reading import first_problem, read_bytes, read_text, sha256
from paradp.policy.files.tensor_writing import write_tensors
from paradp.policy.files.tensors import TensorFile
from paradp.policy.files.writing import link_target, naming_file, write_whole
from paradp.policy.learning.training import TrainedPolicy
from paradp.policy.networks.building import build_network, shapes_of
from paradp.sampler import SamplerChoice, Solver

DEFAULT_SAMPLER = "auto"
# Files that `paradp draft train` and `paradp fidelity` add to a checkpoint.
ADDED = (DOCUMENT, WEIGHTS, FILE)
_LOG = logging.getLogger(__name__)


@with_config(ConfigDict(extra="forbid"))
@dataclass(frozen=True)
class CheckpointInfo:
    """`config.json`: the policy's specification and the digest of its weights."""

    spec: PolicySpec
    model_sha256: str
    format: Literal[1] = 1


_INFO = TypeAdapter(CheckpointInfo)


def save_checkpoint(trained: TrainedPolicy, path: Path, card: str, half: bool = False) -> None:
    """Writes a checkpoint. An existing one stays intact until the new one is complete.

    The old one's draft and fidelity are kept if the new one has the same `checkpoint_digest`, and are removed otherwise.

    Args:
        trained: the averaged network and its normalisers.
        path: the directory.
        card: the model card, markdown.
        half: store the weights in half precision; policies still compute in float32.

    Raises:
        OSError: it cannot be written, for example on a full disk; the old one is kept.
    """
    place = link_target(path)
    put_back(place)
    partial, old = place.with_name(f".{place.name}.partial"), old_name(place)
    for left_over in (partial, old):
        shutil.rmtree(left_over, ignore_errors=True)
    try:
        partial.mkdir(parents=True)
        _write(trained, partial, card, half)
        _carry_over(place, partial)
    except OSError:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    _replace(place, partial, old)
    shutil.rmtree(old, ignore_errors=True)


def _carry_over(place: Path, partial: Path) -> None:
    """Copies draft and measured fidelity of the old checkpoint to the new one if it plans the same."""
    try:
        same = checkpoint_digest(place) == checkpoint_digest(partial)
    except (ValueError, OSError):
        return  # no old checkpoint, or a damaged one
    for name in ADDED:
        if same and (place / name).exists():
            shutil.copy2(place / name, partial / name, follow_symlinks=False)


def _replace(place: Path, partial: Path, old: Path) -> None:
    """Replaces the old checkpoint by the new one, with two renames: few file systems can replace a directory in one."""
    while True:
        if place.exists():
            place.rename(old)
        try:
            partial.rename(place)
            return
        except OSError as error:
            # Between the two renames, a process that loads the checkpoint may restore the old one.
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


def write_spec(path: Path, spec: PolicySpec) -> None:
    """Replaces a checkpoint's specification, for example its number of executed actions; its weights must fit.

    Raises:
        ValueError: as `read_info`.
        OSError: it cannot be written; the old one is kept.
    """
    write_whole(path / "config.json", _INFO.dump_json(replace(read_info(path), spec=spec), indent=2))


# Long: half of it is documentation; the order of the checks decides which error a user sees first.
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
    """Loads a policy that is ready to plan.

    Args:
        name_or_path: a pretrained policy's name, a checkpoint's directory, also that of a diffusion policy of LeRobot, a
            file of Diffusion Policy's or robomimic's, or a name on the Hub, such as `hf:owner/name@revision`.
        sampler: the sampler, such as `"ddpm"` or `"para-ddpm:window=8"`. `auto` and `auto-fast` measure which one is
            fastest, once for each checkpoint, engine and batch: the logger `paradp.policy.engines.autotune` warns at the
            start, and reports progress at level INFO. `auto-fast` uses the measurements of `paradp fidelity`.
        device: where to compute: `cpu`, `cuda`, `cuda:1`. Several devices, as in `cuda:0,cuda:1`, share the rows of each
            network call; everything else runs on the first.
        sha256: required `checkpoint_digest`, for runs that must not continue with another checkpoint.
        engine, precision: software and number format of the network; `auto` is the fastest engine for the device.
        batch: number of environments per batch, for compilation and autotuning.
        facts: what another program's checkpoint does not contain, see `paradp.bridges.Facts`.

    Raises:
        ValueError: there is no such checkpoint; a file is missing, damaged or inconsistent; the digest differs; sampler,
            device, engine or precision are unknown; or no measured sampler is within the bounds of `auto-fast`;
            or facts are missing, or given for a checkpoint that contains them.
        OSError: the Hub cannot be reached.
    """
    places = [torch.device(one) for one in check_devices(device, available(torch.cuda.device_count()))]
    choice = sampler if isinstance(sampler, SamplerChoice) else SamplerChoice.parse(sampler)
    path = find_checkpoint(name_or_path)
    trained = load_trained(path, facts)
    # Checked after reading the files, so that the digest is that of the files read.
    if sha256 is not None and checkpoint_digest(path) != sha256:
        raise ValueError(f"the checkpoint {path} has changed since the run began")
    place = places[0]
    trained.network.to(place).eval()
    # Before an engine is built, so that errors in the sampler or the schedule are reported at once.
    solver = _solver(choice, path, trained.spec, place)
    candidates = candidates_for(choice, path, checkpoint_digest(path), trained.spec.schedule) if choice.measured else EXACT
    computes = build_engine(trained.network, trained.spec, places, engine, precision)
    planned = None
    if choice.measured:
        planned = Autotuner(computes, trained.network, trained.spec, place).choose(candidates, batch)
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
    """Builds the solver of a sampler for a checkpoint, with its trained draft for `draft=trained`.

    For `auto` and `auto-fast` it is the solver that they are compared with.

    Raises:
        ValueError: an option is out of range, the sampler does not fit the policy's schedule, or the draft is missing,
            damaged, or of another checkpoint.
    """
    return _solver(choice, path, read_info(path).spec, device)


def _solver(choice: SamplerChoice, path: Path, spec: PolicySpec, device: torch.device | str) -> Solver:
    wanted = dict(choice.options).get("draft") == "trained"
    return choice.build_first(spec.schedule, read_draft(path, spec, checkpoint_digest(path)).to(device) if wanted else None)


def load_trained(path: Path, facts: Given | None = None) -> TrainedPolicy:
    """Reads the network and the normalisers of a checkpoint.

    Args:
        path: its directory, or another program's file.
        facts: what another program's checkpoint does not contain.

    Raises:
        ValueError: a file is missing, damaged or inconsistent with the others, or the facts are missing or not needed.
    """
    if is_theirs(path):
        return read_theirs(path, facts)
    if facts:
        raise ValueError(f"{path} is a checkpoint of paradp, which contains this information: leave out {', '.join(facts)}")
    info = read_info(path)
    weights = path / "model.safetensors"
    if sha256(weights, WEIGHTS_BYTES) != info.model_sha256:
        raise ValueError(f"{weights} is not the file that config.json was written with: truncated or replaced")
    file = TensorFile.open(weights, WEIGHTS_BYTES)
    normalizers = read_statistics(path, info.spec)
    try:
        # The declared sizes are compared with the file before any memory is allocated for them.
        file.check_shapes(shapes_of(info.spec))
        network = build_network(info.spec)
        file.fill(network.state_dict())
    except ValueError as error:
        raise ValueError(f"{weights} does not fit its config.json: {error}") from error
    return TrainedPolicy(info.spec, network, *normalizers)


def read_info(path: Path) -> CheckpointInfo:
    """Reads the specification of a checkpoint, without its weights.

    Raises:
        ValueError: a file is missing, or `config.json` cannot be read.
    """
    if is_theirs(path):
        return CheckpointInfo(read_their_spec(path), weights_digest(path))
    check_ours(path)
    content = read_document(path / "config.json", DOCUMENT_BYTES)
    # Checkpoints from before there were other networks only contain the U-Net's sizes.
    if isinstance(spec := content.get("spec"), dict) and isinstance(spec.get("unet"), dict):
        spec["network"] = {"kind": "unet"} | spec.pop("unet")
    try:
        return _INFO.validate_python(content)
    except ValidationError as error:
        raise ValueError(f"{path}/config.json cannot be read: {first_problem(error)}") from error


def read_card(path: Path) -> str:
    """Reads the model card of a checkpoint; for another program's checkpoint, writes one from its config.

    Raises:
        ValueError: it is not text, too large, or a link to another place.
        OSError: it is missing or cannot be read.
    """
    return their_card(path) if is_theirs(path) else read_text(path / "README.md", CARD_BYTES)


def checkpoint_digest(path: Path) -> str:
    """The hash of everything that affects a policy's plans: the normalisers, and `config.json` with the weights' digest.

    Raises:
        ValueError: as `read_info`.
    """
    if is_theirs(path):
        return their_digest(path)
    read_info(path)
    found = hashlib.sha256()
    for name, most in (("config.json", DOCUMENT_BYTES), ("statistics.json", STATISTICS_BYTES)):
        content = read_bytes(path / name, most)
        found.update(f"{name} {len(content)}\n".encode() + content)
    return found.hexdigest()

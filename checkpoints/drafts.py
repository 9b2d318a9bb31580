"""Trained drafts: two more files in the directory of a checkpoint, which contain its digest.

draft.json          sizes, digests of the checkpoint and of the weights, training settings
draft.safetensors   the weights
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from pydantic import ConfigDict, TypeAdapter, ValidationError, with_config

from paradp.policy.files import write_whole
from paradp.policy.files.formats import read_document
from paradp.policy.files.limits import DOCUMENT_BYTES, WEIGHTS_BYTES
from paradp.policy.files.reading import first_problem, sha256
from paradp.policy.files.tensor_writing import write_tensors
from paradp.policy.files.tensors import TensorFile
from paradp.policy.learning.draft import DraftTraining
from paradp.policy.networks.draft import (
    SHARE,
    DraftConfig,
    DraftNetwork,
    build_draft,
    draft_cost,
    draft_shapes,
    network_cost,
)
from paradp.policy.spec import PolicySpec

DOCUMENT, WEIGHTS = "draft.json", "draft.safetensors"


@with_config(ConfigDict(extra="forbid"))
@dataclass(frozen=True)
class DraftInfo:
    """`draft.json`.

    Attributes:
        config: sizes of the draft network.
        checkpoint_sha256: `checkpoint_digest` of the checkpoint whose predictions it was trained on.
        weights_sha256: of `draft.safetensors`.
        training: settings of its training.
    """

    config: DraftConfig
    checkpoint_sha256: str
    weights_sha256: str
    training: DraftTraining
    format: Literal[1] = 1


_INFO = TypeAdapter(DraftInfo)


def write_draft(draft: DraftNetwork, training: DraftTraining, path: Path, checkpoint_sha256: str) -> None:
    """Writes a draft into the directory of its checkpoint, and replaces an earlier one.

    If the process is killed between the two files, `read_draft` refuses the result and says what to do.

    Raises:
        OSError: the directory cannot be written, for example on a full disk.
    """
    write_tensors(path / WEIGHTS, draft.state_dict())
    info = DraftInfo(draft.config, checkpoint_sha256, sha256(path / WEIGHTS, WEIGHTS_BYTES), training)
    write_whole(path / DOCUMENT, _INFO.dump_json(info, indent=2))


def read_draft_info(path: Path, checkpoint_sha256: str) -> DraftInfo:
    """Reads `draft.json` of a checkpoint with the given digest.

    Raises:
        ValueError: there is no draft, it cannot be read, or it belongs to another checkpoint.
    """
    if not (path / DOCUMENT).exists():
        raise ValueError(f"{path} has no trained draft; {_train(path)}")
    try:
        info = _INFO.validate_python(read_document(path / DOCUMENT, DOCUMENT_BYTES))
    except ValidationError as error:
        raise ValueError(f"{path / DOCUMENT} cannot be read: {first_problem(error)}") from error
    if info.checkpoint_sha256 != checkpoint_sha256:
        raise ValueError(f"{path / DOCUMENT} was trained for another checkpoint; {_train(path)}")
    return info


def read_draft(path: Path, spec: PolicySpec, checkpoint_sha256: str) -> DraftNetwork:
    """Reads the draft of a checkpoint with the given specification and digest.

    Raises:
        ValueError: there is no draft, it is damaged, or it belongs to another checkpoint.
        OSError: its weights are missing or cannot be read.
    """
    config, weights = (info := read_draft_info(path, checkpoint_sha256)).config, path / WEIGHTS
    if sha256(weights, WEIGHTS_BYTES) != info.weights_sha256:
        raise ValueError(f"{weights} is not the file that {DOCUMENT} was written with; {_train(path)}")
    file = TensorFile.open(weights, WEIGHTS_BYTES)
    try:
        # The declared sizes are compared with the file before any memory is allocated for them.
        file.check_shapes(draft_shapes(spec, config))
        draft = build_draft(spec, config)
        file.fill(draft.state_dict())
    except ValueError as error:
        raise ValueError(f"{weights} does not fit {DOCUMENT}: {error}") from error
    if draft_cost(spec, config) > SHARE * network_cost(spec):
        raise ValueError(f"{weights} computes more than {SHARE:.0%} of what the policy's network does; {_train(path)}")
    if not all(bool(torch.isfinite(tensor).all()) for tensor in draft.state_dict().values()):
        raise ValueError(f"{weights} holds weights that are not finite; {_train(path)}")
    return draft.eval().requires_grad_(False)


def _train(path: Path) -> str:
    return f"train one: paradp draft train {path}"

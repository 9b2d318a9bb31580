"""Reads checkpoints of any supported program: LeRobot's are folders, Diffusion Policy's and robomimic's are files."""

import hashlib
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from paradp.bridges.facts import facts_file, read_facts
from paradp.bridges.lerobot import WEIGHTS, lerobot_files, read_lerobot, read_lerobot_spec
from paradp.bridges.lerobot_card import lerobot_card
from paradp.bridges.single_file import file_card, outline_of, read_diffusion_policy
from paradp.policy.files.limits import DOCUMENT_BYTES, STATE_BYTES
from paradp.policy.files.reading import sha256
from paradp.policy.learning.lesson import TrainedPolicy
from paradp.policy.spec import PolicySpec


def read_theirs(path: Path, facts: Mapping[str, Any] | None = None) -> TrainedPolicy:
    """Reads the network and normalisers of a checkpoint; errors as of `read_lerobot` and `read_diffusion_policy`."""
    return read_lerobot(path, facts) if path.is_dir() else read_diffusion_policy(path, facts)


def read_their_spec(path: Path) -> PolicySpec:
    """Reads a policy's specification, without its weights; errors as of `read_theirs`."""
    return read_lerobot_spec(path) if path.is_dir() else outline_of(path).spec(read_facts(path))


def their_card(path: Path) -> str:
    """Writes a model card for a checkpoint; errors as of `read_theirs`."""
    return lerobot_card(path) if path.is_dir() else file_card(path)


def their_digest(path: Path) -> str:
    """The hash of everything that affects a policy's plans: weights, documents and facts."""
    found = hashlib.sha256(f"{WEIGHTS} {weights_digest(path)}\n".encode())
    facts = facts_file(path)
    for one in lerobot_files(path) if path.is_dir() else [facts] if facts.exists() else []:
        found.update(f"{one.name} {sha256(one, DOCUMENT_BYTES)}\n".encode())
    return found.hexdigest()


def weights_digest(path: Path) -> str:
    """The hash of the weights. As they may be gigabytes, it is cached until the file changes."""
    weights = path / WEIGHTS if path.is_dir() else path
    found = weights.stat()
    return _weights_digest(weights, path.is_dir(), found.st_ino, found.st_size, found.st_mtime_ns)


@lru_cache(maxsize=64)
def _weights_digest(weights: Path, inside: bool, *as_it_is: int) -> str:
    return sha256(weights, STATE_BYTES, inside)

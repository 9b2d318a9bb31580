"""Policies on disk: safetensors and JSON, never pickle; and the pretrained ones that come with the package."""

from paradp.checkpoints.cards import ModelCard
from paradp.checkpoints.store import (
    CheckpointInfo,
    checkpoint_digest,
    find_checkpoint,
    load_policy,
    load_trained,
    pretrained,
    read_card,
    read_info,
    save_checkpoint,
)

__all__ = [
    "CheckpointInfo",
    "ModelCard",
    "checkpoint_digest",
    "find_checkpoint",
    "load_policy",
    "load_trained",
    "pretrained",
    "read_card",
    "read_info",
    "save_checkpoint",
]

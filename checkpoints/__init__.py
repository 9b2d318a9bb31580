"""Checkpoints on disk (safetensors and JSON, never pickle), and the pretrained policies."""

from typing import TYPE_CHECKING

from paradp.sampler.lazy import lazy_exports

if TYPE_CHECKING:
    from paradp.checkpoints.cards import ModelCard
    from paradp.checkpoints.drafts import DraftInfo, read_draft, read_draft_info, write_draft
    from paradp.checkpoints.finding import find_checkpoint, pretrained
    from paradp.checkpoints.store import (
        CheckpointInfo,
        build_solver,
        checkpoint_digest,
        load_policy,
        load_trained,
        read_card,
        read_info,
        save_checkpoint,
    )
else:
    __getattr__, __dir__, __all__ = lazy_exports(
        __name__,
        {
            "cards": "ModelCard",
            "drafts": "DraftInfo read_draft read_draft_info write_draft",
            "finding": "find_checkpoint pretrained",
            "store": (
                "CheckpointInfo build_solver checkpoint_digest load_policy load_trained read_card read_info save_checkpoint"
            ),
        },
    )

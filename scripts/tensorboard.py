"""Writes the metrics of a training for TensorBoard."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any


class TensorBoard:
    """Writes event files to `out/tensorboard`, for `tensorboard --logdir`.

    Args:
        out: the training's directory.
        start: the step after which the training begins or continues; TensorBoard discards an interrupted run's later values.
        settings: the training's settings, shown as text.
    """

    def __init__(self, out: Path, start: int, settings: Mapping[str, Any]):
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(out / "tensorboard"), purge_step=start + 1)
        self._writer.add_text("settings", "\n".join(f"- {name}: {value}" for name, value in settings.items()), start + 1)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Logs the values of a step and writes them at once."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()

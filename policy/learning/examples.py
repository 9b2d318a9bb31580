"""Where a training's examples come from: memory if the images fit, otherwise a stream from disk."""

from dataclasses import replace
from typing import TypeVar

import torch

from paradp.policy.data.dataset import Dataset, StreamedDataset, image_bytes
from paradp.policy.data.streaming import MIB, StreamedWindows, Streaming, held_windows
from paradp.policy.data.windows import TrainingWindows, Windows, cut_windows, send_windows
from paradp.policy.files.memory import available
from paradp.policy.learning.config import LearningConfig
from paradp.policy.spec import Horizons

C = TypeVar("C", bound=LearningConfig)


def with_memory(config: C, dataset: Dataset) -> C:
    """The settings with the memory that images get: a number if they are streamed, `None` if all are held.

    The number is part of the training: it decides which windows are drawn together. Chosen here, it is a power of two, so
    that it is the same tomorrow.
    """
    if not isinstance(dataset, StreamedDataset) or not (needed := image_bytes(dataset)):
        return replace(config, image_memory=None)
    if config.image_memory is not None:
        return config if needed > config.image_memory * MIB else replace(config, image_memory=None)
    free = available()
    if free is None or needed <= free:
        return config
    return replace(config, image_memory=2 ** max(0, (free // MIB // 2).bit_length() - 1))


def cut_examples(dataset: Dataset, horizons: Horizons, config: LearningConfig) -> tuple[TrainingWindows, Windows]:
    """Windows for training and for validation, see `cut_windows`. The first must be closed.

    Args:
        dataset: the episodes.
        horizons: of the windows.
        config: of the training, from `with_memory`.

    Raises:
        ValueError: there are no episodes to train on, or there is not memory enough.
    """
    if config.image_memory is None:
        return cut_windows(dataset, horizons, config.validation_every)
    assert isinstance(dataset, StreamedDataset)  # see `with_memory`
    training, validation = cut_windows(dataset, horizons, config.validation_every, dataset.vectors())
    memory = config.image_memory * MIB
    held = held_windows(dataset, validation, memory // 8)
    return StreamedWindows(dataset, training, Streaming(memory, config.batch_size, config.seed)), held


def send_examples(device: torch.device, training: TrainingWindows, validation: Windows) -> tuple[TrainingWindows, Windows]:
    """What lies in memory is sent to a device; batches that are streamed are sent one by one."""
    if isinstance(training, Windows):
        sent, validation = send_windows(device, training, validation)
        return sent, validation
    [validation] = send_windows(device, validation)
    return training, validation

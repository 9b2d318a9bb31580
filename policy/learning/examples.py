"""Provides the examples of a training: from memory if the images fit, otherwise as a stream from disk."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import torch

from paradp.policy.data.dataset import Dataset, StreamedDataset, image_bytes
from paradp.policy.data.streaming import MIB, StreamedWindows, Streaming, held_windows
from paradp.policy.data.windows import TrainingWindows, Windows, cut_windows, send_windows
from paradp.policy.files.memory import available
from paradp.policy.horizons import Horizons
from paradp.policy.learning.config import LearningConfig
from paradp.policy.learning.ranks import Ranks
from paradp.policy.learning.state import STATE, Noted, StateFile

C = TypeVar("C", bound=LearningConfig)
# The part of the free memory that images may fill; the rest is for the training itself.
_MOST_HELD = 0.8


def with_memory(
    config: C,
    dataset: Dataset,
    out: Path,
    ranks: Ranks,
    device: torch.device,
    on_memory: Callable[[int], None] = lambda mebibytes: None,
) -> C:
    """Returns the settings with the memory for images: a number if they are streamed, `None` if all are in memory.

    The number is a setting of the training, because it decides which windows are drawn together. So it is chosen once, when
    a run begins, and by the first of several processes for all of them.

    Args:
        config: settings of the training.
        dataset: the episodes.
        out: the run's directory; a continued run keeps its number, unless another is requested.
        ranks: the processes that train together; each of them holds images.
        device: where the process trains; images in memory are in the device's, too.
        on_memory: called with the number, if there is one.

    Raises:
        ValueError: the state in `out` is damaged.
    """
    if not isinstance(dataset, StreamedDataset) or not (needed := image_bytes(dataset)):
        return replace(config, image_memory=None)
    memory = config.image_memory
    if memory is None:
        noted = StateFile(out / STATE).noted()
        memory = ranks.agree(lambda: _chosen(needed, ranks.here, device) if noted is None else _kept(noted))
    if memory is None or needed <= memory * MIB:
        return replace(config, image_memory=None)
    on_memory(memory)
    return replace(config, image_memory=memory)


def _chosen(needed: int, processes: int, device: torch.device) -> int | None:
    """Returns the MiB for each of this machine's processes; `None` if all images fit into the memory of each process.

    They must fit into a GPU's memory as well, where windows in memory are sent; streamed batches are sent one by one.
    """
    free = available()
    fit = free is None or needed <= _MOST_HELD * free / processes
    if device.type == "cuda":
        fit &= needed <= _MOST_HELD * torch.cuda.mem_get_info(device)[0]
    if fit or free is None:
        return None
    room = min(free // processes, needed)
    return 2 ** max(0, (room // MIB // 2).bit_length() - 1)


def _kept(noted: Noted) -> int | None:
    """Reads the number of an earlier run; a damaged one is refused later, with the run's identity."""
    memory = noted.identity.get("image_memory")
    return memory if type(memory) is int else None


def cut_examples(dataset: Dataset, horizons: Horizons, config: LearningConfig) -> tuple[TrainingWindows, Windows]:
    """Returns the windows for training and for validation, see `cut_windows`. Close the first after use.

    Args:
        dataset: the episodes.
        horizons: horizons of the windows.
        config: settings of the training, from `with_memory`.

    Raises:
        ValueError: there are no episodes to train on, or memory does not suffice.
    """
    if config.image_memory is None:
        return cut_windows(dataset, horizons, config.validation_every)
    assert isinstance(dataset, StreamedDataset)  # see `with_memory`
    training, validation = cut_windows(dataset, horizons, config.validation_every, dataset.vectors())
    memory = config.image_memory * MIB
    held = held_windows(dataset, validation, memory // 8)
    return StreamedWindows(dataset, training, Streaming(memory, config.batch_size, config.seed)), held


def send_examples(device: torch.device, training: TrainingWindows, validation: Windows) -> tuple[TrainingWindows, Windows]:
    """Sends windows in memory to a device; streamed batches are sent one by one."""
    if isinstance(training, Windows):
        sent, validation = send_windows(device, training, validation)
        return sent, validation
    [validation] = send_windows(device, validation)
    return training, validation

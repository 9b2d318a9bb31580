"""Transfers between the host and the device, without waiting at every step."""

import logging
from collections.abc import Callable

import torch
from torch import Tensor

from paradp.sampler.rounds.device import capture

_LOG = logging.getLogger(__name__)

# Number of steps that are launched on a GPU before the host waits for their losses.
_KEPT = 50


def send(tensor: Tensor, device: torch.device) -> Tensor:
    """Copies a CPU tensor to a device without waiting; on a CPU returns the tensor itself."""
    if device.type != "cuda":
        return tensor
    # Copies from memory that is not pinned make the host wait. PyTorch does not reuse pinned memory before the copy is done.
    return tensor.pin_memory().to(device, non_blocking=True)


def captured_or_launched(launch: Callable[[], None], device: torch.device) -> Callable[[], None]:
    """Captures a function's work on a GPU in a CUDA graph; if that fails, returns the function itself, with a warning."""
    try:
        return capture(launch, device)
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        _LOG.warning("a step cannot be captured in a CUDA graph, and is slower: %s", reason)
        return launch


class UnreadLosses:
    """Losses of the last steps that the host has not read yet, because reading one waits for the device."""

    def __init__(self, device: torch.device):
        self._most = _KEPT if device.type == "cuda" else 1
        self._losses: list[Tensor] = []

    def add(self, loss: Tensor) -> None:
        self._losses.append(loss)

    @property
    def due(self) -> bool:
        """Whether there are enough to be read; always true on a CPU."""
        return len(self._losses) >= self._most

    def read(self) -> list[float]:
        """Returns all of them, oldest first."""
        losses: list[float] = torch.stack(self._losses).tolist()
        self._losses.clear()
        return losses

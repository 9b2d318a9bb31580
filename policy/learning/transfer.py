"""Between the host and the device that computes, without waiting at every step."""

import logging
from collections.abc import Callable

import torch
from torch import Tensor

from paradp.sampler.rounds.device import capture

_LOG = logging.getLogger(__name__)

# Steps whose losses a GPU keeps: so many are launched before the host waits for them.
_KEPT = 50


def send(tensor: Tensor, device: torch.device) -> Tensor:
    """A CPU tensor on a device, without waiting for the copy; on a CPU the tensor itself."""
    if device.type != "cuda":
        return tensor
    # From other memory the host would wait. PyTorch does not reuse pinned memory before the copy is done.
    return tensor.pin_memory().to(device, non_blocking=True)


def captured_or_launched(launch: Callable[[], None], device: torch.device) -> Callable[[], None]:
    """A function's work on a GPU as a CUDA graph; where it cannot be captured, the function itself, with a warning."""
    try:
        return capture(launch, device)
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        _LOG.warning("a step cannot be captured as a CUDA graph, and takes longer: %s", reason)
        return launch


class UnreadLosses:
    """Losses of the last steps, which the host has not seen yet: to see one it waits for the device."""

    def __init__(self, device: torch.device):
        self._most = _KEPT if device.type == "cuda" else 1
        self._losses: list[Tensor] = []

    def add(self, loss: Tensor) -> None:
        self._losses.append(loss)

    @property
    def due(self) -> bool:
        """Whether there are enough to be read; on a CPU after every step."""
        return len(self._losses) >= self._most

    def read(self) -> list[float]:
        """All of them, the oldest first."""
        losses: list[float] = torch.stack(self._losses).tolist()
        self._losses.clear()
        return losses

"""Between the host and the device that computes, without waiting at every step."""

import torch
from torch import Tensor

# Steps whose losses a GPU keeps: so many are launched before the host waits for them.
_KEPT = 50


def send(tensor: Tensor, device: torch.device) -> Tensor:
    """A CPU tensor on a device, without waiting for the copy; on a CPU the tensor itself."""
    if device.type != "cuda":
        return tensor
    # From other memory the host would wait. PyTorch does not reuse pinned memory before the copy is done.
    return tensor.pin_memory().to(device, non_blocking=True)


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

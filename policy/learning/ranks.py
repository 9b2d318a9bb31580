"""Data-parallel training: several processes train one network together, each on its part of every batch.

`accelerate launch --num_processes 4 …` (or torchrun) starts them. Every process draws the whole batch, as one process would,
and computes its part; the gradients are averaged. So the losses equal those of one process with the same batch, up to
rounding.
"""

import os
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, TypeVar

from paradp.policy.devices import check_one
from paradp.policy.errors import SettingError

# Works without PyTorch: the command checks whether it is the first process before it loads anything.
if TYPE_CHECKING:
    import torch
    from accelerate import Accelerator
    from torch import Tensor, nn

T = TypeVar("T")
# The first process saves, and runs rollouts of hours, while the others wait; by default they would give up after minutes.
LONGEST_WAIT = timedelta(days=7)


def rank() -> int:
    """The rank of this process, as set by its launcher; 0 if it trains alone."""
    return int(os.environ.get("RANK", "0")) if _size() > 1 else 0


def _size() -> int:
    """The number of processes that the launcher has started."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def own_device(device: "str | torch.device") -> "torch.device":
    """The requested device; with `cuda`, each of several processes gets its own GPU.

    Raises:
        ValueError: several devices are requested.
    """
    import torch

    if isinstance(device, str):
        check_one(device)

    asked = torch.device(device)
    if asked.type == "cuda" and asked.index is None and (local := os.environ.get("LOCAL_RANK")):
        return torch.device("cuda", int(local))
    return asked


def join(device: "torch.device") -> "Ranks":
    """Joins the processes that train together, as set by the launcher.

    Raises:
        ValueError: there are several, and the package accelerate is missing.
    """
    if _size() == 1:
        return Ranks()
    try:
        from accelerate import Accelerator
        from accelerate.utils import InitProcessGroupKwargs
    except ImportError:
        raise ValueError("training with several processes needs the package accelerate: `pip install accelerate`") from None
    patient = InitProcessGroupKwargs(timeout=LONGEST_WAIT)
    return _Together(Accelerator(cpu=device.type == "cpu", kwargs_handlers=[patient]))


class Ranks:
    """One process alone.

    Attributes:
        size: number of processes.
        here: number of those on this machine.
        first: whether this process writes the results and the messages.
    """

    size = 1
    here = 1
    first = True

    def check(self, batch_size: int) -> None:
        """Raises:
        SettingError: a batch cannot be shared evenly.
        """
        if batch_size % self.size:
            said = f"batch_size must be a multiple of the {self.size} processes that share a batch, not {batch_size}"
            raise SettingError(said, "batch_size")

    def part(self, batch: "tuple[Tensor, ...]") -> "tuple[Tensor, ...]":
        """This process's rows of a batch."""
        return batch

    def average(self, network: "nn.Module") -> None:
        """Replaces the gradients by their mean over the processes."""

    def mean(self, loss: "Tensor") -> "Tensor":
        """The mean of a loss over the processes."""
        return loss

    def agree(self, decide: Callable[[], T]) -> T:
        """Returns the first process's decision to all."""
        return decide()

    def wait(self) -> None:
        """Waits until every process has called it."""


class _Together(Ranks):
    def __init__(self, accelerator: "Accelerator"):
        self._accelerator = accelerator
        self.size, self.first = accelerator.num_processes, accelerator.is_main_process
        self.here = int(os.environ.get("LOCAL_WORLD_SIZE", self.size))

    def part(self, batch: "tuple[Tensor, ...]") -> "tuple[Tensor, ...]":
        return tuple(rows[self._accelerator.process_index :: self.size] for rows in batch)

    def average(self, network: "nn.Module") -> None:
        import torch

        gradients = [p.grad for p in network.parameters() if p.grad is not None]
        together = self.mean(torch.cat([gradient.flatten() for gradient in gradients]))
        for gradient, mean in zip(gradients, together.split([gradient.numel() for gradient in gradients]), strict=True):
            gradient.copy_(mean.view_as(gradient))

    def mean(self, loss: "Tensor") -> "Tensor":
        return self._accelerator.reduce(loss, reduction="mean")

    def agree(self, decide: Callable[[], T]) -> T:
        from accelerate.utils import broadcast_object_list

        return broadcast_object_list([decide() if self.first else None])[0]

    def wait(self) -> None:
        self._accelerator.wait_for_everyone()

"""Training examples: windows of observations and actions cut from demonstrations."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from paradp.policy.data.dataset import Dataset
from paradp.policy.files.memory import check_fits
from paradp.policy.horizons import Horizons
from paradp.policy.wording import counted


class TrainingWindows(Protocol):
    """Windows that batches are drawn from: `Windows` in memory, or `StreamedWindows`, whose images are read from disk.

    Attributes:
        observations: by feature, `[steps, *shape]`, data units; perhaps without images.
        actions: `[steps, A]`, data units.
        chunk: H and A.
    """

    @property
    def observations(self) -> dict[str, Tensor]: ...

    @property
    def actions(self) -> Tensor: ...

    @property
    def chunk(self) -> tuple[int, int]: ...

    def turn_to(self, step: int) -> None:
        """Called before the batch of a training step is drawn.

        Raises:
            ValueError: an image that it may need is missing or damaged.
        """
        ...

    def draw(self, size: int, generator: torch.Generator) -> Tensor:
        """Draws random windows: the input of `batch`, `[size, …]` on the CPU, which may be moved to a device or divided."""
        ...

    def batch(self, drawn: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """Observations, by feature `[n, To, *shape]`, and actions `[n, H, A]`; without a branch that depends on values."""
        ...

    def close(self) -> None:
        """Ends processes that read the windows."""
        ...


@dataclass(frozen=True)
class Windows:
    """All windows of a set of episodes in memory, as indices into the data, so that each image is stored once, as bytes.

    Attributes:
        observations: by feature, `[steps, *shape]`, data units.
        actions: `[steps, A]`, data units.
        observed: `[windows, To]`, rows of `observations` in each window.
        predicted: `[windows, H]`, rows of `actions` in each window.
    """

    observations: dict[str, Tensor]
    actions: Tensor
    observed: Tensor
    predicted: Tensor

    def __len__(self) -> int:
        return len(self.observed)

    @property
    def chunk(self) -> tuple[int, int]:
        """H and A."""
        return self.predicted.shape[1], self.actions.shape[1]

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """All tensors of the windows."""
        return (*self.observations.values(), self.actions, self.observed, self.predicted)

    @property
    def device(self) -> torch.device:
        """The device of the tensors."""
        return self.actions.device

    def turn_to(self, step: int) -> None:
        """Does nothing: all windows are in memory."""

    def draw(self, size: int, generator: torch.Generator) -> Tensor:
        """Indices of random windows, `[size]`."""
        return torch.randint(len(self), (size,), generator=generator)

    def batch(self, drawn: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """Observations, by feature `[n, To, *shape]`, and actions `[n, H, A]` of the windows with these indices."""
        rows = self.observed[drawn]
        return {key: values[rows] for key, values in self.observations.items()}, self.actions[self.predicted[drawn]]

    def close(self) -> None:
        """Does nothing: no files are open."""


def send_windows(device: torch.device, *sets: Windows) -> tuple[Windows, ...]:
    """Copies windows to a device's memory; data that several sets share are copied once.

    Raises:
        ValueError: the device has too little memory.
    """
    parts = {id(part): part for one in sets for part in one.tensors}
    if device.type == "cuda":
        needed = sum(part.nbytes for part in parts.values() if part.device != device)
        check_fits(needed, "the demonstrations", torch.cuda.mem_get_info(device)[0], str(device))
    there = {key: part.to(device) for key, part in parts.items()}
    return tuple(
        Windows(
            {key: there[id(values)] for key, values in one.observations.items()},
            *(there[id(part)] for part in (one.actions, one.observed, one.predicted)),
        )
        for one in sets
    )


def cut_windows(
    demonstrations: Dataset,
    horizons: Horizons,
    validation_every: int,
    observations: Mapping[str, np.ndarray] | None = None,
) -> tuple[Windows, Windows]:
    """One window per control step, for training and for validation (every `validation_every`-th episode).

    Windows that extend beyond their episode repeat its first or last step, as at the start of a rollout.

    Args:
        demonstrations: the episodes.
        horizons: of the windows.
        validation_every: see above.
        observations: what the windows hold of them; by default all observations.

    Raises:
        ValueError: there are no episodes to train on.
    """
    ends = demonstrations.episode_ends
    if len(ends) < 2:
        raise ValueError(f"{demonstrations.path} has {counted(len(ends), 'episode')}; training needs at least 2")
    starts = np.concatenate([[0], ends[:-1]])
    read = demonstrations.observations() if observations is None else observations
    seen = {key: torch.from_numpy(values) for key, values in read.items()}
    actions = torch.from_numpy(demonstrations.actions())
    held_out = np.arange(len(ends)) % validation_every == validation_every - 1
    if not held_out.any():
        held_out[-1] = True

    spans = np.stack([starts, ends], axis=1)
    training, validation = (_rows_of(spans[chosen], horizons) for chosen in (~held_out, held_out))
    return Windows(seen, actions, *training), Windows(seen, actions, *validation)


def _rows_of(spans: np.ndarray, horizons: Horizons) -> tuple[Tensor, Tensor]:
    """Observed and predicted rows, `[windows, To]` and `[windows, H]`, of episodes from `spans[:, 0]` to `spans[:, 1]`."""
    offsets = (1 - horizons.observe + np.arange(length) for length in (horizons.observe, horizons.predict))
    observed, predicted = (np.concatenate([_window_rows(begin, end, some) for begin, end in spans]) for some in offsets)
    return torch.from_numpy(observed), torch.from_numpy(predicted)


def _window_rows(start: int, end: int, offsets: np.ndarray) -> np.ndarray:
    """The rows `[end − start, len(offsets)]` around each step of one episode, limited to the episode."""
    return np.clip(np.arange(start, end)[:, None] + offsets, start, end - 1)

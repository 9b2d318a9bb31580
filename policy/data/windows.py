"""Training examples: windows of observations and actions cut from demonstrations."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from paradp.policy.data.dataset import Dataset
from paradp.policy.files.memory import check_fits
from paradp.policy.spec import Horizons
from paradp.policy.wording import counted


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

    def batch(self, index: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """Returns the observations, by feature `[n, To, *shape]`, and actions `[n, H, A]` of some windows."""
        rows = self.observed[index]
        return {key: values[rows] for key, values in self.observations.items()}, self.actions[self.predicted[index]]


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


def cut_windows(demonstrations: Dataset, horizons: Horizons, validation_every: int) -> tuple[Windows, Windows]:
    """Cuts one window per control step, for training and for validation (every `validation_every`-th episode).

    Windows that extend beyond their episode repeat its first or last step, as at the start of a rollout.

    Raises:
        ValueError: there are no episodes to train on.
    """
    ends = demonstrations.episode_ends
    if len(ends) < 2:
        raise ValueError(f"{demonstrations.path} has {counted(len(ends), 'episode')}; training needs at least 2")
    starts = np.concatenate([[0], ends[:-1]])
    observations = {key: torch.from_numpy(values) for key, values in demonstrations.observations().items()}
    actions = torch.from_numpy(demonstrations.actions())
    held_out = np.arange(len(ends)) % validation_every == validation_every - 1
    if not held_out.any():
        held_out[-1] = True

    def windows_of(chosen: np.ndarray) -> Windows:
        first_offset = 1 - horizons.observe
        observed = first_offset + np.arange(horizons.observe)
        predicted = first_offset + np.arange(horizons.predict)
        pieces = [
            (_window_rows(start, end, observed), _window_rows(start, end, predicted))
            for start, end in zip(starts[chosen], ends[chosen], strict=True)
        ]
        seen, planned = (torch.from_numpy(np.concatenate(rows)) for rows in zip(*pieces, strict=True))
        return Windows(observations, actions, seen, planned)

    return windows_of(~held_out), windows_of(held_out)


def _window_rows(start: int, end: int, offsets: np.ndarray) -> np.ndarray:
    """The rows `[end − start, len(offsets)]` around each step of one episode, limited to the episode."""
    return np.clip(np.arange(start, end)[:, None] + offsets, start, end - 1)

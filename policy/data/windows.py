"""Training examples: windows of observations and actions cut from demonstrations."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from paradp.policy.data.dataset import Dataset
from paradp.policy.spec import Horizons
from paradp.policy.wording import counted


@dataclass(frozen=True)
class Windows:
    """All windows of a set of episodes in memory, as indices into the data.

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

    def to(self, device: torch.device) -> "Windows":
        """The same windows in a device's memory."""
        observations = {key: values.to(device) for key, values in self.observations.items()}
        moved = {name: getattr(self, name).to(device) for name in ("actions", "observed", "predicted")}
        return replace(self, observations=observations, **moved)

    @property
    def device(self) -> torch.device:
        return self.actions.device

    def batch(self, index: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """Observations, by feature `[n, To, *shape]`, and actions `[n, H, A]` of some windows."""
        rows = self.observed[index]
        return {key: values[rows] for key, values in self.observations.items()}, self.actions[self.predicted[index]]


def cut_windows(demonstrations: Dataset, horizons: Horizons, validation_every: int) -> tuple[Windows, Windows]:
    """One window per control step, for training and for validation (every `validation_every`-th episode).

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
    """Rows `[end − start, len(offsets)]` around every step of one episode, kept inside it."""
    return np.clip(np.arange(start, end)[:, None] + offsets, start, end - 1)

"""Converts other programs' data sets to paradp's zarr groups, one episode at a time: they may be larger than the memory."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import numpy as np

from paradp.policy.data.demonstrations import Demonstrations
from paradp.policy.data.episode import DemonstrationEpisode, DemonstrationInfo
from paradp.policy.files.folders import new_folder


class Recorded(Protocol):
    """Episodes with a description, read sequentially.

    Attributes:
        info: description of the features and the robot.
        episode_ends: `[episodes]`, cumulative steps.
    """

    @property
    def info(self) -> DemonstrationInfo: ...

    @property
    def episode_ends(self) -> np.ndarray: ...

    def episodes(self) -> Iterator[DemonstrationEpisode]:
        """Yields the episodes, holding only one in memory at a time.

        Raises:
            ValueError: the data are damaged.
        """
        ...


def import_data(data: Recorded, out: Path, on_episode: Callable[[int], None] = lambda done: None) -> Demonstrations:
    """Converts a data set. `out` appears when it is complete; after an error, no files remain.

    Args:
        data: the data set.
        out: the zarr group to make.
        on_episode: called with the number of written episodes.

    Raises:
        ValueError: `out` exists already, another process writes it, or the data set is damaged.
        OSError: `out` cannot be written, for example on a full disk.
    """
    with new_folder(out) as partial:
        there = Demonstrations.create(partial, data.info)
        for done, episode in enumerate(data.episodes(), 1):
            there.append(episode)
            on_episode(done)
    return Demonstrations.open(out)

"""Converts a LeRobotDataset to paradp's zarr format, one episode at a time: it may be larger than the memory."""

from collections.abc import Callable
from pathlib import Path

from paradp.bridges.lerobot_data.reading import LeRobotData
from paradp.bridges.lerobot_data.writing import whole_folder
from paradp.policy.data.demonstrations import Demonstrations


def import_lerobot(data: LeRobotData, out: Path, on_episode: Callable[[int], None] = lambda done: None) -> Demonstrations:
    """Converts a data set; `out` appears once all of it is written.

    Args:
        data: the data set.
        out: the zarr group to make.
        on_episode: called with the number of written episodes.

    Raises:
        ValueError: `out` exists, another process writes it, or the data set is damaged; nothing is left at `out`.
        OSError: it cannot be written, for example on a full disk; nothing is left at `out`.
    """
    with whole_folder(out) as partial:
        there = Demonstrations.create(partial, data.info)
        for done, episode in enumerate(data.episodes(), 1):
            there.append(episode)
            on_episode(done)
    return Demonstrations.open(out)

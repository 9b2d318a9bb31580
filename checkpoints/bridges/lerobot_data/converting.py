"""From a LeRobotDataset to a zarr group of ours, an episode at a time: it may be larger than the memory."""

import shutil
from collections.abc import Callable
from pathlib import Path

from paradp.bridges.lerobot_data.reading import LeRobotData
from paradp.policy.data.demonstrations import Demonstrations
from paradp.policy.files.lock import OutputLock
from paradp.policy.files.writing import link_target


def import_lerobot(data: LeRobotData, out: Path, on_episode: Callable[[int], None] = lambda done: None) -> Demonstrations:
    """Converts a data set; `out` appears once all of it is written.

    Args:
        data: the data set.
        out: the zarr group to make.
        on_episode: called with the number of written episodes.

    Raises:
        ValueError: something is there already, another process writes it, or the data set is damaged; nothing is left.
        OSError: it cannot be written, such as on a full disk; nothing is left.
    """
    place = link_target(out)
    partial = place.with_name(f".{place.name}.importing")
    with OutputLock.beside(out):
        if out.exists():
            raise ValueError(f"{out} exists; choose another --out or remove it")
        shutil.rmtree(partial, ignore_errors=True)  # of a killed process
        try:
            there = Demonstrations.create(partial, data.info)
            for done, episode in enumerate(data.episodes(), 1):
                there.append(episode)
                on_episode(done)
            partial.rename(place)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return Demonstrations.open(out)

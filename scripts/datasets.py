"""Opens training data of any supported format."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from paradp.policy.data.dataset import Dataset


def is_lerobot(path: Path) -> bool:
    """Whether a folder looks like a LeRobotDataset."""
    return (path / "meta" / "info.json").is_file()


def open_data(path: Path, task: str) -> "Dataset":
    """Opens demonstrations in paradp's zarr format, or a LeRobotDataset v3.

    Args:
        path: the folder.
        task: name of the task, if the data do not contain it.

    Raises:
        ValueError: they cannot be read.
    """
    if is_lerobot(path):
        from paradp.bridges.lerobot_data.reading import LeRobotData

        return LeRobotData.open(path, task=task)
    from paradp.policy.data.demonstrations import Demonstrations

    return Demonstrations.open(path)

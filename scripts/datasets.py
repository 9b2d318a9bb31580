"""Opens training data of any supported program."""

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from paradp.bridges.diffusion_policy_data import DiffusionPolicyData
    from paradp.bridges.lerobot_data.reading import LeRobotData
    from paradp.bridges.minari_data import MinariData
    from paradp.policy.data.dataset import Dataset

# By their files alone: what reads them is imported later.
MINARI = "main_data.hdf5"
HDF5 = (".hdf5", ".h5")
_OF_ZARR = ("zarr.json", ".zgroup", ".zarray")


def is_lerobot(path: Path) -> bool:
    """Whether a folder looks like a LeRobotDataset."""
    return (path / "meta" / "info.json").is_file()


def is_diffusion_policy(path: Path) -> bool:
    """Whether a folder looks like a data set of Diffusion Policy: a group in zarr's format 2."""
    return (path / "meta" / "episode_ends" / ".zarray").is_file()


def is_minari(path: Path) -> bool:
    """Whether a file or folder looks like a data set of Minari."""
    return path.name == MINARI or (path / MINARI).is_file() or (path / "data" / MINARI).is_file()


def open_recorded(
    path: Path, task: str | None, keys: Collection[str] = ()
) -> "LeRobotData | DiffusionPolicyData | MinariData | None":
    """A data set of LeRobot, Diffusion Policy or Minari, whose episodes are as they were recorded; `None` for others.

    Args:
        path: the folder or file.
        task: its task; by default the one in its `paradp.yaml`.
        keys: the observations to read; by default those in its `paradp.yaml`, or all.

    Raises:
        ValueError: it cannot be read, or lacks a fact.
    """
    facts = {} if task is None else {"task": task}
    if is_lerobot(path):
        from paradp.bridges.lerobot_data.reading import LeRobotData

        return LeRobotData.open(path, facts, keys=keys)
    if is_diffusion_policy(path):
        from paradp.bridges.diffusion_policy_data import DiffusionPolicyData

        return DiffusionPolicyData.open(path, facts, keys=keys)
    if is_minari(path):
        from paradp.bridges.minari_data import MinariData

        return MinariData.open(path, facts, keys=keys)
    return None


def open_data(path: Path, task: str) -> "Dataset":
    """Demonstrations in a zarr group of ours, a LeRobotDataset, or a data set of Diffusion Policy.

    Args:
        path: the folder.
        task: their task, if they do not say it.

    Raises:
        ValueError: they cannot be read.
    """
    if is_lerobot(path):
        from paradp.bridges.lerobot_data.reading import LeRobotData

        return LeRobotData.open(path, task=task)
    if is_diffusion_policy(path):
        from paradp.bridges.diffusion_policy_data import DiffusionPolicyData

        return DiffusionPolicyData.open(path, task=task)
    if is_minari(path):
        raise ValueError(f"{path} must be imported first: paradp data import {path} --out demos/{task}.zarr")
    from paradp.policy.data.demonstrations import Demonstrations

    return Demonstrations.open(path)


def check_known(path: Path) -> None:
    """Checks that a folder looks like demonstrations of a supported program, by its files.

    Raises:
        ValueError: it does not.
    """
    zarr = any((path / name).exists() for name in _OF_ZARR)
    if not path.is_dir() or zarr or is_lerobot(path) or is_diffusion_policy(path) or is_minari(path):
        return
    files = sorted(file for suffix in HDF5 for file in path.glob(f"*{suffix}"))
    name = f"name the HDF5 file, such as {files[0]}" if files else "for HDF5, name the file"
    raise ValueError(
        f"{path} holds none of: demonstrations of paradp (zarr 3), a LeRobotDataset, a zarr of Diffusion Policy,"
        f" a data set of Minari; {name}"
    )


def scale_remarks(data: "Dataset") -> list[str]:
    """Remarks on vectors of another program's data set that should be split, see `range_remarks`.

    Demonstrations that paradp collected or rebuilt have separate quantities already.
    """
    from paradp.policy.data.dataset import StreamedDataset
    from paradp.policy.data.ranges import range_remarks

    if "dataset" not in data.info.made_with or not isinstance(data, StreamedDataset):
        return []
    return list(range_remarks(data.vectors(), data.actions(), data.info.action))

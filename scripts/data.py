"""`paradp data`: inspects and imports recorded demonstrations; `export` is in export.py."""

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import tyro

from paradp.envs import ACTION_CONVENTIONS, find_task
from paradp.policy.wording import counted
from paradp.scripts.console import console, loading, progress
from paradp.scripts.datasets import check_known, open_recorded, scale_remarks
from paradp.scripts.lists import Words
from paradp.scripts.places import check_new

if TYPE_CHECKING:
    from paradp.bridges.importing import Recorded
    from paradp.rollouts.imports.recordings import RecordedFile

ACTIONS = "actions"  # the file suffix of robomimic and robosuite
# Recorded absolute goals have rotation vectors, which an import converts to rotation_6d.
RECORDED_PARTS = {
    "delta": ACTION_CONVENTIONS["delta"].parts,
    "absolute": {"goal_pos": 3, "goal_rotvec": 3, "gripper": 1},
}


# Long: its parameters are the command's options, and its docstring is their help.
def import_(
    file: tyro.conf.Positional[Path],
    out: Path,
    task: str | None = None,
    action_convention: Literal["absolute", "delta"] = "absolute",
    observations: Literal["replayed", "recorded"] = "replayed",
    keys: Words = (),
    mask: str | None = None,
    actions: str = ACTIONS,
) -> None:
    """Import demonstrations of robomimic, robosuite, LeRobot, Diffusion Policy or Minari, images included.

    Nothing in the file is executed or unpickled. A file with a defect is refused as a whole.

        paradp data import low_dim_v15.hdf5 --out demos/square-human.zarr
        paradp data import pusht_cchi_v7_replay.zarr --keys img state \\
            --out demos/pusht-human.zarr

    Args:
        file: the HDF5 file of robomimic or robosuite; or the folder of a LeRobotDataset, of Diffusion Policy's zarr or of
            Minari, for which only --out, --task and --keys apply.
        out: the zarr group to make.
        task: task of the demonstrations; by default the one named in the file.
        action_convention: convention of the new demonstrations; recorded deltas can be converted to absolute goals.
        observations: replayed: set the simulator to each recorded state, and read the task's observations there. A policy
            trained on them can be run. recorded: take the file's own observations, which may be images.
        keys: which of the file's own observations to take, such as agentview_image; by default robomimic's low-dimensional
            ones, and of other data sets all.
        mask: only take the demonstrations that the file lists under this name, such as `train`; all by default.
        actions: the array with the actions; robomimic stores absolute ones in `actions_abs`.
    """
    check_source(file)
    _check_file(file)
    check_known(file)
    check_new(out, "--out")
    if task is not None:
        find_task(task)
    with loading("what reads data sets"):
        recorded_data = open_recorded(file, task, keys)
    if recorded_data is not None:
        return _import_recorded(recorded_data, file, out)
    with loading("the simulator and what reads HDF5"):
        from paradp.rollouts.imports.defects import remarks
        from paradp.rollouts.imports.importing import import_file
        from paradp.rollouts.imports.recordings import LOW_DIM_KEYS, read_file
    recorded = read_file(file, actions)
    if mask is not None:
        recorded = recorded.masked(mask)
    with progress(f"importing {file.name}", len(recorded.recordings)) as report:
        report(0)
        imported = import_file(recorded, out, task, action_convention, observations, keys or LOW_DIM_KEYS, report)
    there = imported.demonstrations
    console.print(f"{counted(len(there), 'episode')}, {counted(there.steps, 'step')} of {there.info.task} in {out}")
    if imported.first_success:
        succeeded = sum(step is not None for step in imported.first_success)
        console.print(f"{succeeded} of them succeed by the task's own rule")
    if imported.cut:
        share = imported.cut / there.steps
        console.print(f"{share:.1%} of the goals are further from the hand than a delta can say, and were cut")
    for remark in [*remarks(recorded), *untold_remarks(recorded, there.info.task)]:
        console.print(f"remark: {remark}")
    low, high = np.array(there.info.action_low), np.array(there.info.action_high)
    outside = float(((there.actions() < low) | (there.actions() > high)).any(1).mean())
    if outside:
        console.print(f"{outside:.1%} of the actions are outside the environment's limits: a policy's are clipped to them")


def _import_recorded(data: "Recorded", file: Path, out: Path) -> None:
    from paradp.bridges.importing import import_data

    with progress(f"importing {file.name}", len(data.episode_ends)) as report:
        report(0)
        there = import_data(data, out, report)
    console.print(f"{counted(len(there), 'episode')}, {counted(there.steps, 'step')} of {there.info.task} in {out}")
    if short := int((np.diff(there.episode_ends, prepend=0) == 1).sum()):
        console.print(f"remark: {counted(short, 'episode')} with one step only: windows repeat it")
    for remark in scale_remarks(there):
        console.print(f"remark: {remark}")


def _check_file(path: Path) -> None:
    """Raises:
    ValueError: it is already a store of demonstrations.
    """
    if (path / "zarr.json").is_file():
        raise ValueError(f"{path} holds demonstrations of paradp already: train on it (paradp train TASK --data {path})")


def check_source(path: Path) -> None:
    """Raises:
    ValueError: the path does not exist.
    """
    if not path.exists():
        raise ValueError(f"there is no file {path}")


def untold_remarks(file: "RecordedFile", task: str) -> list[str]:
    """A remark that lists what the file lacks and the import assumes; empty if it lacks nothing."""
    from paradp.rollouts.imports.fitting import untold

    missing = untold(file, task)
    return [f"the file does not say, and is taken to have: {', '.join(missing)}"] if missing else []

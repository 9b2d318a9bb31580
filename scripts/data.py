"""`paradp data`: inspects and imports recorded demonstrations; `export` is in export.py."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import tyro
from rich.table import Table

from paradp.envs import ACTION_CONVENTIONS, find_task
from paradp.policy.wording import counted
from paradp.scripts.call import Count
from paradp.scripts.console import console, loading, progress, say
from paradp.scripts.datasets import is_lerobot, open_recorded
from paradp.scripts.dimensions import dimension_names
from paradp.scripts.lerobot_data import look
from paradp.scripts.lists import Words
from paradp.scripts.places import check_file, check_new
from paradp.scripts.recording import check_rerun, record_demonstrations

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
        paradp data import pusht_cchi_v7_replay.zarr --keys img state --out demos/pusht-human.zarr

    Args:
        file: the HDF5 file of robomimic or robosuite; or the folder of a LeRobotDataset, of Diffusion Policy's zarr or of
            Minari, for which only --out, --task and --keys count.
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
    _check_source(file)
    _check_file(file)
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
        console.print(f"{share:.1%} of the goals are too far from the hand for a delta action, and were clipped")
    for remark in [*remarks(recorded), *_untold(recorded, there.info.task)]:
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


def inspect(
    path: tyro.conf.Positional[Path],
    plot: Path | None = None,
    rerun: Path | None = None,
    episodes: Count = 5,
    actions: str = ACTIONS,
) -> None:
    """Look at demonstrations before training: episodes, ranges, defects, a plot of the actions.

        paradp data inspect low_dim_v15.hdf5 --plot actions.png
        paradp data inspect demos/square.zarr

    Args:
        path: an HDF5 file of robomimic or robosuite, a zarr group of paradp, or the folder of a LeRobotDataset.
        plot: plot the actions over time to this PNG.
        rerun: write the observations and actions to this file, `….rrd`, for Rerun's viewer.
        episodes: plot or write this many of the first episodes.
        actions: the array with the actions in an HDF5 file.
    """
    _check_source(path)
    if plot is not None:
        check_file(plot, "--plot")
    if rerun is not None:
        check_rerun(rerun)
    found = _Looked(*look(path)) if is_lerobot(path) else _ours(path) if path.is_dir() else _recorded(path, actions)
    arrays = found.arrays
    lengths = np.diff(found.ends, prepend=0)
    if not len(lengths):
        raise ValueError(f"{path} holds no episodes")
    quartiles = "/".join(f"{length:.0f}" for length in np.percentile(lengths, (0, 50, 100)))
    console.print(
        f"{counted(len(lengths), 'episode')}, {counted(lengths.sum(), 'step')}; shortest/median/longest {quartiles} steps"
    )
    console.print(_ranges(arrays, found.parts))
    if rerun is not None:
        action = "action" if "action" in arrays else ACTIONS
        record_demonstrations(rerun, arrays, found.ends[:episodes], action, found.parts, found.control_hz or 1.0)
    if plot is not None:
        _draw(found, path, plot, episodes)


def _draw(found: "_Looked", path: Path, plot: Path, episodes: int) -> None:
    """Plots the actions of the first episodes."""
    drawn = found.arrays.get("action", found.arrays.get(ACTIONS))
    if drawn is None:
        raise ValueError(f"{path}: its episodes' actions differ in their number of columns and cannot be drawn together")
    from paradp.policy.files.writing import naming_file
    from paradp.scripts.action_plot import plot_actions

    with naming_file(plot):
        plot_actions(np.split(drawn, found.ends[:-1])[:episodes], path.name, plot, found.parts, found.control_hz)
    console.print(f"actions: {plot}")


def _check_file(path: Path) -> None:
    """Raises:
    ValueError: it is already a store of demonstrations.
    """
    if (path / "zarr.json").is_file():
        raise ValueError(f"{path} holds demonstrations of paradp already: train on it (paradp train TASK --data {path})")


def _check_source(path: Path) -> None:
    """Raises:
    ValueError: the path does not exist.
    """
    if not path.exists():
        raise ValueError(f"there is no file {path}")


def _parts(file: "RecordedFile") -> dict[str, int] | None:
    """The parts of a recorded action, if all episodes seem to have the same convention of robosuite."""
    from paradp.rollouts.imports.conventions import looks_like

    looks = {looks_like(recording) for recording in file.recordings}
    return RECORDED_PARTS.get(looks.pop() or "") if len(looks) == 1 else None


@dataclass(frozen=True)
class _Looked:
    """Demonstrations from any program.

    Attributes:
        ends: ends of the episodes, `[n]`.
        arrays: the arrays recorded in each step, of all episodes concatenated.
        parts: the parts of an action, if known: quantity → length.
        control_hz: control steps per second, if the file contains it.
    """

    ends: np.ndarray
    arrays: dict[str, np.ndarray]
    parts: Mapping[str, int] | None
    control_hz: float | None


def _ours(path: Path) -> _Looked:
    with loading("the reader of demonstrations"):
        from paradp.policy.data.demonstrations import Demonstrations
    there = Demonstrations.open(path)
    say(f"{there.path}: demonstrations of {there.info.task}, actions {there.info.action_convention}")
    arrays = {**there.observations(), "action": there.actions()}
    return _Looked(there.episode_ends, arrays, there.info.action, there.info.control_hz)


def _recorded(path: Path, actions: str) -> _Looked:
    with loading("the HDF5 reader"):
        from paradp.rollouts.imports.recordings import read_file
    file = read_file(path, actions)
    _tell_of_file(file)
    ends = np.cumsum([len(recording) for recording in file.recordings])
    everywhere = set.intersection(*(set(recording.arrays) for recording in file.recordings))
    arrays = {
        name: np.concatenate([recording.arrays[name] for recording in file.recordings])
        for name, first in file.recordings[0].arrays.items()
        if name in everywhere and len({recording.arrays[name].shape[1] for recording in file.recordings}) == 1
    }
    return _Looked(ends, arrays, _parts(file), file.settings.control_hz)


def _tell_of_file(file: "RecordedFile") -> None:
    """Prints the file's origin, its actions, and its defects."""
    from paradp.rollouts.imports.conventions import looks_like
    from paradp.rollouts.imports.defects import defects

    settings, looks = file.settings, Counter(looks_like(recording) for recording in file.recordings)
    version = f" {settings.version}" if settings.version else ""
    rate = f", {settings.control_hz} Hz" if settings.control_hz else ""
    console.print(f"{file.path}: {settings.environment}, robosuite{version}{rate}")
    for kind, count in looks.items():
        described = f"look {kind}" if kind else "have an unknown convention"
        console.print(f"actions {described}" + f" in {count} of {len(file.recordings)} episodes" * (len(looks) > 1))
    found = defects(file)
    for defect in found:
        console.print(f"defect: {defect}", style="red")
    if not found:
        _tell_of_import(file)


def _tell_of_import(file: "RecordedFile") -> None:
    """Prints the task of a file without defects, and warnings."""
    from paradp.rollouts.imports.defects import remarks
    from paradp.rollouts.imports.fitting import misfits, task_of

    remarked = remarks(file)
    try:
        task = task_of(file)
    except ValueError as error:
        console.print(str(error))
    else:
        misfitting = misfits(file, task)
        console.print(f"task: {task}" + " as it is here" * (not misfitting))
        for misfit in misfitting:
            console.print(f"not importable: {misfit}", style="red")
        remarked += _untold(file, task)
    for remark in remarked:
        console.print(f"remark: {remark}")


def _untold(file: "RecordedFile", task: str) -> list[str]:
    from paradp.rollouts.imports.fitting import untold

    missing = untold(file, task)
    return [f"not in the file, and assumed: {', '.join(missing)}"] if missing else []


def _quantities(name: str, size: int, parts: Mapping[str, int] | None) -> list[str]:
    """Describes the columns of an array; for actions the quantities, if known."""
    if parts is not None and name in ("action", ACTIONS) and sum(parts.values()) == size:
        return [described.replace("\n", " ") for described in dimension_names(parts)]
    return dimension_names({name: size})


def _ranges(arrays: Mapping[str, np.ndarray], parts: Mapping[str, int] | None) -> Table:
    table = Table("array", "quantity", "least", "mean", "most", "")
    for name, values in arrays.items():
        if values.ndim > 2:
            least, mean, most = (f"{f(values):.3f}" for f in (np.min, np.mean, np.max))
            table.add_row(name, f"image of {' × '.join(map(str, values.shape[1:]))}", least, mean, most, "")
            continue
        quantities = _quantities(name, values.shape[1], parts)
        for column, quantity in enumerate(quantities):
            v = values[:, column]
            finite = v[np.isfinite(v)]
            note = "not finite" if len(finite) < len(v) else "constant" if len(v) and np.ptp(v) == 0 else ""
            figures = [f"{f(finite):.3f}" if len(finite) else "-" for f in (np.min, np.mean, np.max)]
            table.add_row(name if column == 0 else "", quantity, *figures, note)
    return table

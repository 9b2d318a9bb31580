"""`paradp data inspect`: looks at recorded demonstrations."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import tyro
from rich.table import Table

from paradp.policy.wording import counted
from paradp.scripts.call import Count
from paradp.scripts.console import console, doing
from paradp.scripts.data import ACTIONS, check_source
from paradp.scripts.dimensions import dimension_names
from paradp.scripts.looking import Looked, look
from paradp.scripts.places import check_file, check_folder
from paradp.scripts.recording import check_rerun, record_demonstrations

if TYPE_CHECKING:
    from paradp.policy.data.image_defects import CameraLook


def inspect(
    path: tyro.conf.Positional[Path],
    plot: Path | None = None,
    film: Path | None = None,
    rerun: Path | None = None,
    episodes: Count = 5,
    actions: str = ACTIONS,
) -> None:
    """Look at demonstrations before training: episodes, ranges, defects, the actions over time, what the cameras saw.

        paradp data inspect low_dim_v15.hdf5 --plot actions.png
        paradp data inspect demos/pusht-image.zarr --film strips

    Args:
        path: an HDF5 file of robomimic, robosuite or Minari, a zarr group of ours or of Diffusion Policy, or the folder of a
            LeRobotDataset.
        plot: plot the actions over time to this PNG.
        film: draw a film strip of each camera into this folder, as CAMERA.png.
        rerun: write images, vectors and actions to this file, `….rrd`, for Rerun's viewer.
        episodes: plot, draw and write this many of the first episodes.
        actions: the array with the actions in an HDF5 file.
    """
    check_source(path)
    _check_outputs(plot, film, rerun)
    found = look(path, actions)
    lengths = np.diff(found.ends, prepend=0)
    if not len(lengths):
        raise ValueError(f"{path} holds no episodes")
    looks = _remark(found)
    quartiles = "/".join(f"{length:.0f}" for length in np.percentile(lengths, (0, 50, 100)))
    console.print(
        f"{counted(len(lengths), 'episode')}, {counted(lengths.sum(), 'step')}; shortest/median/longest {quartiles} steps"
    )
    console.print(_ranges(found.arrays, looks, found.parts))
    if plot is not None:
        _plot(found, path, plot, episodes)
    if film is not None:
        _film(found, path, film, episodes)
    if rerun is not None:
        record_demonstrations(rerun, found, episodes)


def _check_outputs(plot: Path | None, film: Path | None, rerun: Path | None) -> None:
    if plot is not None:
        check_file(plot, "--plot", ".png")
    if film is not None:
        check_folder(film, "--film")
    if rerun is not None:
        check_rerun(rerun)


def _remark(found: Looked) -> "dict[str, CameraLook]":
    """Prints a remark for each oddity of vectors and images, and returns what the cameras saw."""
    _remark_on_ranges(found)
    return _remark_on_images(found)


def _remark_on_images(found: Looked) -> "dict[str, CameraLook]":
    """Looks at every image, and prints a remark for each oddity."""
    if found.images is None or not found.images.shapes:
        return {}
    from paradp.policy.data.image_defects import TIMES, image_remarks, look_at, time_remarks

    ends = found.ends.tolist()
    vectors = {key: values for key, values in found.arrays.items() if key not in ("action", ACTIONS, TIMES)}
    with doing("looking at the images"):
        looks = look_at(found.images, vectors, ends)
    for remark in image_remarks(looks, ends, found.control_hz):
        console.print(f"remark: {remark}")
    times = found.arrays.get(TIMES) if found.times is None else found.times
    if times is not None and times.shape[1:] in ((), (1,)):
        for remark in time_remarks(times.reshape(-1), ends, found.control_hz):
            console.print(f"remark: {remark}")
    return looks


def _remark_on_ranges(found: Looked) -> None:
    """Prints a remark for each vector that may contain several quantities, if `paradp.yaml` can split it."""
    if not found.named:
        return
    from paradp.policy.data.ranges import range_remarks

    vectors = dict(found.arrays)
    actions = vectors.pop("action")
    parts = found.parts or {}
    whole = {"action": actions.shape[1]}
    for remark in range_remarks(vectors, actions, parts if sum(parts.values()) == actions.shape[1] else whole):
        console.print(f"remark: {remark}")


def _plot(found: Looked, path: Path, plot: Path, episodes: int) -> None:
    drawn = found.arrays.get("action", found.arrays.get(ACTIONS))
    if drawn is None:
        raise ValueError(f"{path}: its episodes' actions differ in their number of columns and cannot be drawn together")
    from paradp.policy.files.writing import naming_file
    from paradp.scripts.action_plot import plot_actions

    with naming_file(plot):
        plot_actions(np.split(drawn, found.ends[:-1])[:episodes], path.name, plot, found.parts, found.control_hz)
    console.print(f"actions: {plot}")


def _film(found: Looked, path: Path, film: Path, episodes: int) -> None:
    if found.images is None or not found.images.shapes:
        raise ValueError(f"{path} has no cameras, of which --film could draw a strip")
    from paradp.scripts.film_strips import draw_film_strips

    for written in draw_film_strips(found.images, found.ends.tolist(), film, episodes, found.control_hz):
        console.print(f"film strip: {written}")


def _quantities(name: str, size: int, parts: Mapping[str, int] | None) -> list[str]:
    """Describes the columns of an array; for actions the quantities, if known."""
    if parts is not None and name in ("action", ACTIONS) and sum(parts.values()) == size:
        return [described.replace("\n", " ") for described in dimension_names(parts)]
    return dimension_names({name: size})


def _ranges(arrays: Mapping[str, np.ndarray], looks: "Mapping[str, CameraLook]", parts: Mapping[str, int] | None) -> Table:
    table = Table("array", "quantity", "least", "mean", "most", "")
    for name, seen in looks.items():
        size = " × ".join(map(str, seen.shape))
        table.add_row(name, f"image of {size}", str(seen.least), f"{seen.mean:.1f}", str(seen.most), "")
    for name, values in arrays.items():
        quantities = _quantities(name, values.shape[1], parts)
        for column, quantity in enumerate(quantities):
            v = values[:, column]
            finite = v[np.isfinite(v)]
            note = "not finite" if len(finite) < len(v) else "constant" if len(v) and np.ptp(v) == 0 else ""
            figures = [f"{f(finite):.3f}" if len(finite) else "-" for f in (np.min, np.mean, np.max)]
            table.add_row(name if column == 0 else "", quantity, *figures, note)
    return table

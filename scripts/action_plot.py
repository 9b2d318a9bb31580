"""Plots actions over time, for inspection before training."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from paradp.scripts.canvas import panels, save
from paradp.scripts.dimensions import dimension_names


def plot_actions(
    episodes: Sequence[np.ndarray],
    title: str,
    path: Path,
    parts: Mapping[str, int] | None = None,
    control_hz: float | None = None,
) -> Figure:
    """Plots the actions `[T, A]` of several episodes, with one panel for each dimension; returns the figure, closed.

    Args:
        episodes: the actions.
        title: source of the actions.
        path: the PNG.
        parts: quantity → length, in order, to name the dimensions; without it they are numbered.
        control_hz: control steps per second, if known.
    """
    size = episodes[0].shape[1]
    names = dimension_names(parts) if parts and sum(parts.values()) == size else [f"action {i}" for i in range(size)]
    rows = -(-size // 2)
    figure, flat = panels(2, 1.6 * rows + 0.8, rows=rows, sharex=True)
    axes = np.array(flat).reshape(rows, 2)
    for dimension, axis in enumerate(axes.T.flat):
        if dimension >= size:
            axis.set_visible(False)
            continue
        for actions in episodes:
            axis.plot(actions[:, dimension], lw=0.8)
        axis.set_ylabel(names[dimension], fontsize=9)
    for column in axes.T:
        lowest = [axis for axis in column if axis.get_visible()][-1]
        lowest.set_xlabel("control step" + (f" ({control_hz:g} a second)" if control_hz else ""))
        lowest.tick_params(labelbottom=True)
    figure.align_ylabels()
    figure.suptitle(f"{title}: actions, {len(episodes)} of its episodes")
    save(figure, path)
    return figure

"""Actions over time, to be looked at before anything is trained on them."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np

matplotlib.use("Agg")
import matplotlib.pyplot as plt


def plot_actions(episodes: Sequence[np.ndarray], title: str, path: Path) -> None:
    """One panel for each dimension of the actions `[T, A]` of several episodes."""
    size = episodes[0].shape[1]
    rows = -(-size // 2)
    figure, axes = plt.subplots(rows, 2, figsize=(11, 1.6 * rows + 0.6), layout="constrained", sharex=True, squeeze=False)
    for dimension, axis in enumerate(axes.T.flat):
        if dimension >= size:
            axis.set_visible(False)
            continue
        for actions in episodes:
            axis.plot(actions[:, dimension], lw=0.8)
        axis.set_ylabel(f"{dimension}")
        axis.grid(alpha=0.3)
    for column in axes.T:
        lowest = [axis for axis in column if axis.get_visible()][-1]
        lowest.set_xlabel("control step")
        lowest.tick_params(labelbottom=True)
    figure.suptitle(f"{title}: actions by dimension, {len(episodes)} of its episodes")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)

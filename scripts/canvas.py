"""Creates and saves pictures in a size that is legible on a page that shows them 1000 pixels wide."""

from pathlib import Path
from typing import Any, BinaryIO

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

# Inches. At 1000 pixels a letter of 8 points is then 11 pixels high.
WIDTH = 10.0
DPI = 144
SMALL = 8.0
plt.rcParams.update({"font.size": 9, "axes.titlesize": 10, "legend.fontsize": SMALL})


def blank(height: float, width: float = WIDTH, **options: Any) -> Figure:
    """An empty picture; `options` as for `plt.figure`."""
    return plt.figure(figsize=(width, height), dpi=DPI, layout="constrained", **options)


def panels(columns: int, height: float, rows: int = 1, width: float = WIDTH, **options: Any) -> tuple[Figure, list[Axes]]:
    """A picture with panels, row by row; `options` as for `plt.subplots`."""
    figure, axes = plt.subplots(
        rows, columns, figsize=(width, height), dpi=DPI, layout="constrained", squeeze=False, **options
    )
    for axis in axes.flat:
        axis.grid(alpha=0.3)
    return figure, list(axes.flat)


def legend_below(figure: Figure, columns: int = 3, **options: Any) -> None:
    """One legend for all panels, below them; without handles it takes those of the first panel."""
    if "handles" not in options:
        handles, labels = figure.axes[0].get_legend_handles_labels()
        options |= {"handles": handles, "labels": labels}
    figure.legend(loc="outside lower center", ncols=columns, fontsize=9, frameon=False, **options)


def save(figure: Figure, path: Path | BinaryIO) -> None:
    """Writes the PNG and closes the figure."""
    if isinstance(path, Path):
        path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi="figure")
    plt.close(figure)

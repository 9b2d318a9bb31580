"""The picture of a training."""

from pathlib import Path

import pandas as pd

from paradp.scripts.canvas import panels, save


def plot_losses(metrics: Path, path: Path) -> None:
    """Training and validation loss against the steps of `metrics.jsonl`."""
    if not metrics.stat().st_size:
        return  # nothing was logged yet
    table = pd.read_json(metrics, lines=True)
    figure, [axes] = panels(1, 4, width=7)
    axes.plot(table["step"], table["train_loss"], label="training, weights as they are", alpha=0.6)
    axes.plot(table["step"], table["validation_loss"], label="validation, averaged weights")
    axes.set(xlabel="optimiser step", ylabel="mean squared error of the predicted noise", yscale="log")
    axes.legend()
    save(figure, path)

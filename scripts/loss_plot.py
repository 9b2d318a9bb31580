"""The picture of a training."""

from pathlib import Path

import matplotlib
import pandas as pd

matplotlib.use("Agg")
import matplotlib.pyplot as plt


def plot_losses(metrics: Path, path: Path) -> None:
    """Training and validation loss against the steps of `metrics.jsonl`."""
    if not metrics.stat().st_size:
        return  # nothing was logged yet
    table = pd.read_json(metrics, lines=True)
    figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
    axes.plot(table["step"], table["train_loss"], label="training, weights as they are", alpha=0.6)
    axes.plot(table["step"], table["validation_loss"], label="validation, averaged weights")
    axes.set(xlabel="optimiser step", ylabel="mean squared error of the predicted noise", yscale="log")
    axes.grid(alpha=0.3, which="both")
    axes.legend()
    figure.savefig(path, dpi=120)
    plt.close(figure)

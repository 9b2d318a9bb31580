"""The picture of a training."""

from pathlib import Path

from paradp.policy.learning.metrics_log import read_metrics
from paradp.scripts.canvas import panels, save


def plot_losses(metrics: Path, path: Path) -> None:
    """Training and validation loss against the steps of `metrics.jsonl`."""
    logged = read_metrics(metrics)
    if not logged:
        return
    steps = [line.step for line in logged]
    figure, [axes] = panels(1, 4, width=7)
    axes.plot(steps, [line.train_loss for line in logged], label="training, weights as they are", alpha=0.6)
    axes.plot(steps, [line.validation_loss for line in logged], label="validation, averaged weights")
    axes.set(xlabel="optimiser step", ylabel="mean squared error of the predicted noise", yscale="log")
    axes.legend()
    save(figure, path)

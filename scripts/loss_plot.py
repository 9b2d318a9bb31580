"""The picture of a training."""

from pathlib import Path

from paradp.policy.learning.metrics_log import read_metrics
from paradp.scripts.canvas import panels, save
from paradp.scripts.training_rollouts import read_evaluations


def plot_training(out: Path, path: Path) -> None:
    """Draws the losses of `metrics.jsonl`, and the success of rollouts if there are any, against the steps."""
    logged, tried = read_metrics(out / "metrics.jsonl"), read_evaluations(out)
    if not logged:
        return
    figure, axes = panels(2 if tried else 1, 4, width=11 if tried else 7)
    steps = [line.step for line in logged]
    axes[0].plot(steps, [line.train_loss for line in logged], label="training, weights as they are", alpha=0.6)
    axes[0].plot(steps, [line.validation_loss for line in logged], label="validation, averaged weights")
    axes[0].set(xlabel="optimiser step", ylabel="mean squared error of the prediction", yscale="log")
    if tried:
        steps = [one.step for one in tried]
        axes[1].plot(steps, [one.success for one in tried], "o-", label="success")
        axes[1].plot(steps, [one.reward for one in tried], "s--", label="reward")
        axes[1].set(
            xlabel="optimiser step",
            ylabel="mean of the rollouts",
            ylim=(-0.03, 1.03 * max(1.0, *(one.reward for one in tried))),
        )
    for axis in axes:
        axis.legend()
    save(figure, path)

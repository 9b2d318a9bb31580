"""Runs a training: shows its progress, and writes checkpoints, cards, pictures and metrics."""

import shlex
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from paradp.policy.learning.config import LearningConfig
from paradp.policy.learning.ranks import rank
from paradp.policy.wording import counted
from paradp.rollouts.machine import hardware
from paradp.scripts.console import ProgressReport, progress, say
from paradp.scripts.tensorboard import TensorBoard
from paradp.scripts.training_rollouts import TrainingRollouts

if TYPE_CHECKING:
    from paradp.policy.data.dataset import Dataset
    from paradp.policy.learning.arithmetic import Arithmetic
    from paradp.policy.learning.metrics_log import TrainingMetrics
    from paradp.policy.learning.training import TrainedPolicy


@dataclass(frozen=True)
class Following:
    """The arguments of a training, and the outputs besides its checkpoint.

    Attributes:
        demonstrations, config, out, device: arguments of the training.
        earlier: the checkpoint from which training starts, or which is distilled.
        half: store weights in half precision.
        rollouts: rollouts of the policy during the training.
        tensorboard: also write the metrics for TensorBoard.
        doing: the verb for the progress display, such as `training`.
    """

    demonstrations: "Dataset"
    config: LearningConfig
    out: Path
    earlier: Path | None
    half: bool
    device: str
    rollouts: TrainingRollouts
    tensorboard: bool
    doing: str = "training"


def follow(learn: "Callable[..., TrainedPolicy]", what: Following) -> None:
    """Runs a training with progress on the screen; every checkpoint gets a card and a plot of the losses.

    Args:
        learn: `paradp.policy.learning.training.train` or a function with the same arguments.
        what: arguments and outputs of the training.
    """
    with progress(f"{what.doing} {what.demonstrations.info.task}", what.config.steps) as report:
        follower = _Follower(what, report)
        try:
            learn(
                what.demonstrations,
                what.config,
                what.out,
                follower.save,
                on_step=follower.on_step,
                on_arithmetic=follower.on_arithmetic,
                on_start=follower.on_start,
                on_metrics=follower.on_metrics,
                on_memory=follower.on_memory,
                device=what.device,
            )
        finally:
            follower.close()
    say(f"checkpoint {what.out}/checkpoint · losses {what.out}/loss.png")


class _Follower:
    """The callbacks of a training."""

    def __init__(self, what: Following, report: ProgressReport):
        from paradp.checkpoints import read_card

        self._what, self._report = what, report
        self._command = shlex.join(["paradp", *sys.argv[1:]])
        self._card_before = read_card(what.earlier) if what.earlier else ""
        self._board: TensorBoard | None = None
        self._image_memory: int | None = None
        self._step = 0

    def on_memory(self, mebibytes: int) -> None:
        self._image_memory = mebibytes
        say(f"the images are streamed from disk; {mebibytes} MiB of them are kept in memory (--image-memory)")

    def on_arithmetic(self, arithmetic: "Arithmetic") -> None:
        self._arithmetic = arithmetic
        say(f"training in {arithmetic}")

    def on_start(self, step: int, trained: "TrainedPolicy") -> None:
        if rank() == 0:
            self._card(trained)  # so that an error in it comes before the first step, and not at the first save
            if step == 0:
                self._what.rollouts.forget()
        self._step = step
        self._report(step)
        if self._what.tensorboard and rank() == 0:
            self._board = TensorBoard(self._what.out, step, self._what.config.settings())
        # Interrupted rollouts are made up for. Those of the last step are due when a finished training saves again.
        if self._what.rollouts.due(step) and step < self._what.config.steps and rank() == 0:
            self.save(trained, self._what.out / "checkpoint")

    def on_step(self, step: int, loss: float) -> None:
        self._step = step
        self._report(step, f"loss {loss:.4f}")

    def on_metrics(self, metrics: "TrainingMetrics") -> None:
        losses = {"loss/training": metrics.train_loss, "loss/validation": metrics.validation_loss}
        self._log(metrics.step, losses | {"learning_rate": metrics.learning_rate})

    def save(self, trained: "TrainedPolicy", path: Path) -> None:
        """Writes a checkpoint, runs rollouts if they are due, and plots the losses."""
        from paradp.checkpoints import save_checkpoint
        from paradp.policy.files.writing import naming_file
        from paradp.scripts.loss_plot import plot_training

        save_checkpoint(trained, path, self._card(trained), self._what.half)
        if self._what.rollouts.due(self._step):
            self._try()
        picture = self._what.out / "loss.png"
        with naming_file(picture):
            plot_training(self._what.out, picture)

    def close(self) -> None:
        if self._board is not None:
            self._board.close()

    def _try(self) -> None:
        """Runs episodes with the checkpoint. If they fail, the training continues."""
        say(f"running rollouts of the policy: {counted(self._what.rollouts.settings.evaluate_episodes, 'episode')} …")
        try:
            found = self._what.rollouts.run(self._step)
        except ValueError as error:
            say(str(error))
            return
        say(str(found))
        self._log(found.step, {"rollouts/success": found.success, "rollouts/reward": found.reward})

    def _log(self, step: int, values: Mapping[str, float]) -> None:
        if self._board is not None:
            self._board.log(step, values)

    def _card(self, trained: "TrainedPolicy") -> str:
        from paradp.checkpoints import ModelCard
        from paradp.policy.data.dataset import step_count

        what, data = self._what, self._what.demonstrations
        return ModelCard(
            trained.spec,
            data.info,
            len(data.episode_ends),
            step_count(data),
            replace(what.config, bf16=self._arithmetic.bf16, image_memory=self._image_memory),
            self._command,
            _took(what.out / "metrics.jsonl", what.device),
            self._card_before,
            str(self._arithmetic),
        ).render()


def _took(metrics: Path, device: str) -> str:
    """The duration of the training up to its last log, including earlier processes, and its hardware."""
    import torch

    from paradp.policy.learning.metrics_log import read_metrics

    logged = read_metrics(metrics)
    if not logged:
        return ""

    machine, threads = hardware(device), torch.get_num_threads()
    minutes = counted(round(logged[-1].seconds / 60), "minute")
    if gpu := machine.get("gpu"):
        return f"Took {minutes} on {gpu}."
    return f"Took {minutes} on {counted(threads, 'thread')} of {machine['cpu']} ({counted(machine['cores'], 'core')})."

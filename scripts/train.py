"""`paradp train`: a diffusion policy from demonstrations."""

import json
import shlex
import sys
from pathlib import Path

import torch
import tyro

from paradp.checkpoints import ModelCard, load_trained, read_card, save_checkpoint
from paradp.policy.demonstrations import Demonstrations
from paradp.policy.training import TrainedPolicy, TrainingConfig
from paradp.policy.training import train as run
from paradp.rollouts.summary import hardware
from paradp.scripts.console import console, progress
from paradp.scripts.loss_plot import plot_losses

DEFAULT_CONFIG = TrainingConfig()


def train(
    task: tyro.conf.Positional[str],
    data: Path | None = None,
    out: Path = Path("runs/train"),
    init: Path | None = None,
    half: bool = True,
    config: tyro.conf.OmitArgPrefixes[TrainingConfig] = DEFAULT_CONFIG,
) -> None:
    """Train a diffusion policy; the checkpoint in OUT/checkpoint is renewed as training goes on.

    A training that was interrupted continues when the same command is given again.

        paradp train square --data demos/square.zarr --out runs/train
        paradp rollout square --checkpoint runs/train/checkpoint

    Args:
        task: the task that the demonstrations are of.
        data: the zarr group of demonstrations; demos/TASK.zarr by default.
        out: where state, metrics, loss plot and checkpoint go.
        init: a checkpoint's directory to start from instead of random weights.
        half: store the checkpoint's weights in half precision.
        config: how to train.
    """
    demonstrations = Demonstrations.open(data or Path(f"demos/{task}.zarr"))
    if demonstrations.info.task != task:
        raise ValueError(f"{demonstrations.path} holds demonstrations of {demonstrations.info.task!r}, not of {task!r}")
    command = shlex.join(["paradp", *sys.argv[1:]])
    earlier = read_card(init) if init else ""

    def save(trained: TrainedPolicy, path: Path) -> None:
        card = ModelCard(
            trained.spec,
            demonstrations.info,
            len(demonstrations),
            demonstrations.steps,
            config,
            command,
            _took(out / "metrics.jsonl"),
            earlier,
        )
        save_checkpoint(trained, path, card.render(), half)
        plot_losses(out / "metrics.jsonl", out / "loss.png")

    with progress(f"training {task}", config.steps) as report:
        start = load_trained(init) if init else None
        run(demonstrations, config, out, save, lambda step, loss: report(step, f"loss {loss:.4f}"), start)
    console.print(f"checkpoint {out}/checkpoint · losses {out}/loss.png")


def _took(metrics: Path) -> str:
    """How long the training took up to its last log, over all of its processes, and on what."""
    lines = metrics.read_text().splitlines()
    if not lines:
        return ""
    machine, threads = hardware(), torch.get_num_threads()
    return (
        f"Took {json.loads(lines[-1])['seconds'] / 60:.0f} minutes on {threads} thread{'s' * (threads > 1)} of"
        f" {machine['cpu']} ({machine['cores']} cores)."
    )

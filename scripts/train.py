"""`paradp train`: a diffusion policy from demonstrations."""

import json
import shlex
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import tyro

from paradp.checkpoints import ModelCard, load_trained, read_card, save_checkpoint
from paradp.policy.arithmetic import Arithmetic
from paradp.policy.demonstrations import Demonstrations
from paradp.policy.training import TrainedPolicy, TrainingConfig
from paradp.policy.training import train as run
from paradp.rollouts.summary import hardware
from paradp.scripts.console import console, progress
from paradp.scripts.loss_plot import plot_losses


@dataclass(frozen=True)
class TrainingFlags(TrainingConfig):
    """How to train; the flags --bf16 and --no-bf16 are the command's own."""

    bf16: tyro.conf.Suppress[bool | None] = None


DEFAULT_CONFIG = TrainingFlags()
Flag = tyro.conf.FlagCreatePairsOff[bool]


def train(
    task: tyro.conf.Positional[str],
    data: Path | None = None,
    out: Path = Path("runs/train"),
    init: Path | None = None,
    half: bool = True,
    bf16: Flag = False,
    no_bf16: Flag = False,
    config: tyro.conf.OmitArgPrefixes[TrainingFlags] = DEFAULT_CONFIG,
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
        bf16: compute in bfloat16; by default a step of each arithmetic is timed and the faster taken.
        no_bf16: compute in float32.
        config: how to train.
    """
    if bf16 and no_bf16:
        raise ValueError("--bf16 and --no-bf16 exclude each other")
    config = replace(config, bf16=True if bf16 else False if no_bf16 else None)
    demonstrations = Demonstrations.open(data or Path(f"demos/{task}.zarr"))
    if demonstrations.info.task != task:
        raise ValueError(f"{demonstrations.path} holds demonstrations of {demonstrations.info.task!r}, not of {task!r}")
    command = shlex.join(["paradp", *sys.argv[1:]])
    earlier = read_card(init) if init else ""

    computes: list[Arithmetic] = []

    def begin(arithmetic: Arithmetic) -> None:
        computes.append(arithmetic)
        console.print(f"training in {arithmetic}")

    def save(trained: TrainedPolicy, path: Path) -> None:
        card = ModelCard(
            trained.spec,
            demonstrations.info,
            len(demonstrations),
            demonstrations.steps,
            replace(config, bf16=computes[0].bf16),
            command,
            _took(out / "metrics.jsonl"),
            earlier,
            str(computes[0]),
        )
        save_checkpoint(trained, path, card.render(), half)
        plot_losses(out / "metrics.jsonl", out / "loss.png")

    with progress(f"training {task}", config.steps) as report:
        start = load_trained(init) if init else None
        run(demonstrations, config, out, save, lambda step, loss: report(step, f"loss {loss:.4f}"), start, begin)
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

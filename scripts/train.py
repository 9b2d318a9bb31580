"""`paradp train`: trains a policy on demonstrations."""

import hashlib
import shlex
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import tyro

from paradp.checkpoints.finding import find_own
from paradp.policy.learning.config import LearningConfig, TrainingConfig
from paradp.policy.learning.ranks import rank
from paradp.policy.wording import counted
from paradp.rollouts.machine import hardware
from paradp.scripts.call import TaskName
from paradp.scripts.console import console, loading, progress, say
from paradp.scripts.datasets import open_data
from paradp.scripts.places import check_device, check_folder
from paradp.scripts.typed_settings import Typed, options_of

if TYPE_CHECKING:
    from paradp.policy.data.dataset import Dataset
    from paradp.policy.learning.arithmetic import Arithmetic
    from paradp.policy.learning.training import TrainedPolicy


@options_of(TrainingConfig, limits_first=False)
class Flags(Typed[TrainingConfig]):
    pass


DEFAULT_CONFIG = Flags()
Flag = tyro.conf.FlagCreatePairsOff[bool]


# Long: its parameters are the command's options, and its docstring is their help.
def train(
    task: TaskName,
    data: Path | None = None,
    out: Path | None = None,
    init: Path | None = None,
    half: bool = True,
    bf16: Flag = False,
    no_bf16: Flag = False,
    device: str = "cpu",
    config: tyro.conf.OmitArgPrefixes[Flags] = DEFAULT_CONFIG,
) -> None:
    """Train a diffusion policy; OUT/checkpoint is updated during training.

    The same command continues an interrupted training. Several processes share its batches if they are started with
    `accelerate launch --num_processes N`.

        paradp train square --data demos/square.zarr --out runs/train
        paradp rollout square --checkpoint runs/train/checkpoint

    Args:
        task: task of the demonstrations.
        data: the demonstrations: a zarr group, or the folder of a LeRobotDataset v3; demos/TASK.zarr by default.
        out: directory of state, metrics, loss plot and checkpoint; by default runs/train/TASK-DIGEST. The digest depends on
            the demonstrations and all settings, so the same command continues its training, and other commands use
            another directory.
        init: start from the weights of this checkpoint directory instead of random ones.
        half: store the checkpoint's weights in half precision.
        bf16: compute in bfloat16; by default both formats are timed, and the faster one is used.
        no_bf16: compute in float32.
        device: cpu or cuda; a run can be continued on another device.
        config: settings of the training.
    """
    let_the_first_speak()
    training = config.checked(bf16=asked_for(bf16, no_bf16))
    check_device(device, several=False)
    path = data or Path(f"demos/{task}.zarr")
    check_data(path, task)
    if out is not None:
        check_folder(out)
    start_from = None if init is None else find_own(init)
    with loading("PyTorch"):
        from paradp.policy.learning.training import train as run
    demonstrations = open_data(path, task)
    check_task(demonstrations, task)
    if out is None:
        out = Path("runs/train") / f"{task}-{run_digest(demonstrations, training, start_from)}"
        say(f"writing to {out}")
    from paradp.checkpoints import load_trained

    learn = partial(run, init=load_trained(start_from) if start_from else None)
    follow(learn, demonstrations, training, out, start_from, half, device)


def let_the_first_speak() -> None:
    """Of several processes that train together."""
    console.quiet = rank() > 0


def asked_for(bf16: bool, no_bf16: bool) -> bool | None:
    """Whether to compute in bf16; `None` where neither flag is given.

    Raises:
        ValueError: both are.
    """
    if bf16 and no_bf16:
        raise ValueError("--bf16 and --no-bf16 exclude each other")
    return True if bf16 else False if no_bf16 else None


def check_task(demonstrations: "Dataset", task: str) -> None:
    """Raises:
    ValueError: the demonstrations are of another task.
    """
    if demonstrations.info.task != task:
        raise ValueError(f"{demonstrations.path} holds demonstrations of {demonstrations.info.task!r}, not of {task!r}")


def check_data(path: Path, task: str) -> None:
    """Checks by its name that there may be demonstrations.

    Raises:
        ValueError: there are none; the message says how to get them.
    """
    if path.suffix in (".hdf5", ".h5"):
        raise ValueError(f"{path} must be imported first: paradp data import {path} --out demos/{task}.zarr")
    if not path.exists():
        raise ValueError(
            f"{path} holds no demonstrations: collect them (paradp collect {task} --out {path}), or import recorded ones"
        )
    if not path.is_dir():
        raise ValueError(f"{path} holds no demonstrations: it is a file, and no zarr group or data set of LeRobot")


# Long: `begin` and `save` are called back, and read what it was called with.
def follow(
    learn: "Callable[..., TrainedPolicy]",
    demonstrations: "Dataset",
    config: LearningConfig,
    out: Path,
    earlier: Path | None,
    half: bool,
    device: str,
    doing: str = "training",
) -> None:
    """Carries out a training and says how far it is; writes its card and its picture with every checkpoint.

    Args:
        learn: `paradp.policy.learning.training.train` or one like it.
        demonstrations, config, out: what `learn` is called with.
        earlier: the checkpoint that training starts from, or that is distilled.
        half: store weights in half precision.
        device: where `learn` computes.
        doing: what is done, in a word.
    """
    from paradp.checkpoints import ModelCard, read_card, save_checkpoint
    from paradp.policy.data.dataset import step_count
    from paradp.policy.files.writing import naming_file
    from paradp.policy.learning.examples import with_memory
    from paradp.scripts.loss_plot import plot_losses

    command = shlex.join(["paradp", *sys.argv[1:]])
    card_before = read_card(earlier) if earlier else ""
    computes: list[Arithmetic] = []

    def begin(arithmetic: "Arithmetic") -> None:
        computes.append(arithmetic)
        say(f"training in {arithmetic}")

    def save(trained: "TrainedPolicy", path: Path) -> None:
        card = ModelCard(
            trained.spec,
            demonstrations.info,
            len(demonstrations.episode_ends),
            step_count(demonstrations),
            replace(config, bf16=computes[0].bf16),
            command,
            _took(out / "metrics.jsonl", device),
            card_before,
            str(computes[0]),
        )
        save_checkpoint(trained, path, card.render(), half)
        with naming_file(out / "loss.png"):
            plot_losses(out / "metrics.jsonl", out / "loss.png")

    if (memory := with_memory(config, demonstrations).image_memory) is not None:
        say(f"the images are streamed from disk: {memory} MiB of them are held (--image-memory)")
    with progress(f"{doing} {demonstrations.info.task}", config.steps) as report:
        learn(
            demonstrations,
            config,
            out,
            save,
            on_step=lambda step, loss: report(step, f"loss {loss:.4f}"),
            on_arithmetic=begin,
            on_start=report,
            device=device,
        )
    say(f"checkpoint {out}/checkpoint · losses {out}/loss.png")


def run_digest(demonstrations: "Dataset", config: LearningConfig, init: Path | None) -> str:
    """Of what a training depends on: the demonstrations' content, the settings, the weights that it starts from."""
    from paradp.checkpoints import checkpoint_digest

    start = None if init is None else checkpoint_digest(init)
    described = repr((config.settings(), demonstrations.info, demonstrations.digest(), start))
    return hashlib.sha256(described.encode()).hexdigest()[:8]


def _took(metrics: Path, device: str) -> str:
    """How long the training took up to its last log, over all of its processes, and on what."""
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

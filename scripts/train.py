"""`paradp train`: trains a policy on demonstrations."""

import hashlib
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import tyro

from paradp.checkpoints.finding import find_own
from paradp.policy.learning.config import LearningConfig, TrainingConfig
from paradp.policy.learning.ranks import rank
from paradp.scripts.call import TaskName
from paradp.scripts.console import console, loading, say
from paradp.scripts.datasets import HDF5, check_known, open_data, scale_remarks
from paradp.scripts.extras import check_installed
from paradp.scripts.following import Following, follow
from paradp.scripts.places import check_device, check_folder, check_simulator
from paradp.scripts.training_rollouts import Evaluating, TrainingRollouts
from paradp.scripts.typed_settings import Typed, options_of

if TYPE_CHECKING:
    from paradp.policy.data.dataset import Dataset


@options_of(TrainingConfig, limits_first=False)
class Flags(Typed[TrainingConfig]):
    """The options of `paradp train` from its settings."""


@options_of(Evaluating)
class EvaluatingFlags(Typed[Evaluating]):
    """The options of rollouts during a training, of all commands that train."""


DEFAULT_CONFIG = Flags()
DEFAULT_EVALUATING = EvaluatingFlags()
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
    tensorboard: Flag = False,
    evaluating: tyro.conf.OmitArgPrefixes[EvaluatingFlags] = DEFAULT_EVALUATING,
    config: tyro.conf.OmitArgPrefixes[Flags] = DEFAULT_CONFIG,
) -> None:
    """Train a diffusion policy; OUT/checkpoint is updated during training.

    The same command continues an interrupted training. Several processes share its batches if they are started with
    `accelerate launch --num_processes N`.

        paradp train square --data demos/square.zarr --out runs/train
        paradp train square --out runs/train --evaluate-every 5000
        paradp rollout square --checkpoint runs/train/checkpoint

    Args:
        task: task of the demonstrations.
        data: the demonstrations: a zarr group, or the folder of a LeRobotDataset v3; demos/TASK.zarr by default.
        out: directory of state, metrics, loss plot and checkpoint; by default runs/train/TASK-DIGEST. The digest depends on
            the demonstrations and all settings, so the same command continues its training, and other commands use
            another directory.
        init: start from the policy in this checkpoint directory instead of random weights. Network, process, image encoder
            and horizons are then its own; only --execute may be another.
        half: store the checkpoint's weights in half precision.
        bf16: compute in bfloat16; by default both formats are timed, and the faster one is used.
        no_bf16: compute in float32.
        device: cpu or cuda; a run can be continued on another device.
        tensorboard: also write losses and success to OUT/tensorboard, for `tensorboard --logdir OUT`.
        evaluating: rollouts of the policy while it is trained.
        config: settings of the training.
    """
    let_the_first_speak()
    start_from = None if init is None else find_own(init)
    training = settings(config, start_from, asked_for(bf16, no_bf16))
    rollouts = evaluating.checked()
    check_followed(task, rollouts, training.save_every, tensorboard)
    check_device(device, several=False)
    path = data or Path(f"demos/{task}.zarr")
    check_data(path, task)
    if out is not None:
        check_folder(out)
    with loading("PyTorch"):
        from paradp.policy.learning.training import train as run
    demonstrations = open_data(path, task)
    check_task(demonstrations, task)
    for remark in scale_remarks(demonstrations):
        say(f"remark: {remark}")
    if out is None:
        out = Path("runs/train") / f"{task}-{run_digest(demonstrations, training, start_from)}"
        say(f"writing to {out}")
    from paradp.checkpoints import load_trained

    learn = partial(run, init=load_trained(start_from) if start_from else None)
    tried = TrainingRollouts(task, training.process.kind, out, rollouts, device)
    follow(learn, Following(demonstrations, training, out, start_from, half, device, tried, tensorboard))


def settings(config: Flags, start_from: Path | None, bf16: bool | None) -> TrainingConfig:
    """Makes the settings of a training from the options; the policy that it starts from determines some of them.

    Raises:
        SettingError: the configuration is impossible, or options contradict the policy.
        ValueError: the policy cannot be read or trained.
    """
    if start_from is None:
        return config.checked(bf16=bf16)
    with loading("PyTorch, to read the policy to start from"):
        from paradp.checkpoints import read_info
        from paradp.policy.learning.starting import refuse_others, settings_of
    spec, typed = read_info(start_from).spec, config.inherited()
    execute = typed.pop("execute", spec.horizons.execute)
    refuse_others(typed, spec)
    own = settings_of(spec) | {"execute": execute}
    if "crop" in typed:
        own["vision"] = spec.vision  # as runs store it whose command says it
    return replace(replace(config, **dict.fromkeys((*typed, "execute"))).checked(bf16=bf16), **own)


def check_followed(task: str, rollouts: Evaluating, save_every: int, tensorboard: bool) -> None:
    """Checks the settings of a training's rollouts and TensorBoard.

    Raises:
        SettingError: rollouts are due at steps without a checkpoint.
        ValueError: the simulator is missing.
        ModuleNotFoundError: TensorBoard is missing.
    """
    rollouts.check(save_every)
    if rollouts.evaluate_every:
        check_simulator(task)
    if tensorboard:
        check_installed("tensorboard")


def let_the_first_speak() -> None:
    """Silences all but the first of several processes that train together."""
    console.quiet = rank() > 0


def asked_for(bf16: bool, no_bf16: bool) -> bool | None:
    """Whether to compute in bf16; `None` if neither flag is given.

    Raises:
        ValueError: both flags are given.
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
    """Checks whether a path can be demonstrations, by its name and its files' names.

    Raises:
        ValueError: it cannot; the message explains how to get some.
    """
    if path.suffix in HDF5:
        raise ValueError(f"{path} must be imported first: paradp data import {path} --out demos/{task}.zarr")
    if not path.exists():
        raise ValueError(
            f"{path} holds no demonstrations: collect them (paradp collect {task} --out {path}), or import recorded ones"
        )
    if not path.is_dir():
        raise ValueError(f"{path} holds no demonstrations: it is a file, not a zarr group or a data set of LeRobot")
    check_known(path)


def run_digest(demonstrations: "Dataset", config: LearningConfig, init: Path | None) -> str:
    """The hash of everything that a training depends on: the demonstrations' content, the settings, the initial weights."""
    from paradp.checkpoints import checkpoint_digest

    start = None if init is None else checkpoint_digest(init)
    described = repr((config.settings(), demonstrations.info, demonstrations.digest(), start))
    return hashlib.sha256(described.encode()).hexdigest()[:8]

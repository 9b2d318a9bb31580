"""`paradp distill`: turns a diffusion policy into one that needs one to four evaluations per plan."""

from functools import partial
from pathlib import Path

import tyro

from paradp.checkpoints.finding import find_own
from paradp.policy.learning.config import DistillationConfig
from paradp.scripts.call import PolicyName
from paradp.scripts.console import loading, say
from paradp.scripts.datasets import open_data
from paradp.scripts.following import Following, follow
from paradp.scripts.places import check_device, check_folder
from paradp.scripts.train import (
    DEFAULT_EVALUATING,
    EvaluatingFlags,
    Flag,
    asked_for,
    check_data,
    check_followed,
    check_task,
    let_the_first_speak,
    run_digest,
)
from paradp.scripts.training_rollouts import TrainingRollouts
from paradp.scripts.typed_settings import Typed, options_of


@options_of(DistillationConfig, limits_first=False)
class Flags(Typed[DistillationConfig]):
    """The options of `paradp distill` from its settings."""


DEFAULT_CONFIG = Flags()


# Long: its parameters are the command's options, and its docstring is their help.
def distill(
    policy: PolicyName,
    data: Path | None = None,
    out: Path | None = None,
    half: bool = True,
    bf16: Flag = False,
    no_bf16: Flag = False,
    device: str = "cpu",
    tensorboard: Flag = False,
    evaluating: tyro.conf.OmitArgPrefixes[EvaluatingFlags] = DEFAULT_EVALUATING,
    config: tyro.conf.OmitArgPrefixes[Flags] = DEFAULT_CONFIG,
) -> None:
    """Distill a diffusion policy into a consistency model: one to four evaluations per plan instead of a hundred.

    The student is a checkpoint in OUT/checkpoint, which is updated during distillation. Only the samplers consistency-N
    work with it. The same command continues an interrupted run.

        paradp distill square --data demos/square.zarr --steps 3000 \\
            --learning-rate 5e-4 --out runs/distilled
        paradp rollout square --checkpoint runs/distilled/checkpoint \\
            --sampler consistency-2

    Args:
        policy: the teacher: a pretrained policy's name or a checkpoint's directory.
        data: the zarr group of demonstrations of its task; demos/TASK.zarr by default.
        out: directory of state, metrics, loss plot and checkpoint; by default runs/distill/TASK-DIGEST, with a digest as for
            `paradp train`.
        half: store the checkpoint's weights in half precision.
        bf16: compute in bfloat16; by default both formats are timed, and the faster one is used.
        no_bf16: compute in float32.
        device: cpu or cuda; a run can be continued on another device.
        tensorboard: also write losses and success to OUT/tensorboard, for `tensorboard --logdir OUT`.
        evaluating: rollouts of the student while it is trained.
        config: settings of the distillation.
    """
    let_the_first_speak()
    distilling = config.checked(bf16=asked_for(bf16, no_bf16))
    rollouts = evaluating.checked()
    teacher_path = find_own(policy)
    check_device(device, several=False)
    if out is not None:
        check_folder(out)
    with loading("PyTorch"):
        from paradp.checkpoints import load_trained
        from paradp.policy.learning.distillation import distill as run
        from paradp.policy.learning.distillation import student_schedule
    teacher = load_trained(teacher_path)
    try:
        student_schedule(teacher.spec.schedule)
    except ValueError as error:
        raise ValueError(f"{policy} cannot be distilled: {error}") from error
    task = teacher.spec.task
    check_followed(task, rollouts, distilling.save_every, tensorboard)
    path = data or Path(f"demos/{task}.zarr")
    check_data(path, task)
    demonstrations = open_data(path, task)
    check_task(demonstrations, task)
    if out is None:
        out = Path("runs/distill") / f"{task}-{run_digest(demonstrations, distilling, teacher_path)}"
        say(f"writing to {out}")
    tried = TrainingRollouts(task, "consistency", out, rollouts, device)
    what = Following(demonstrations, distilling, out, teacher_path, half, device, tried, tensorboard, "distilling")
    follow(partial(run, teacher), what)

"""The parts of a recording of a commit, and runs that continue the files of an earlier commit."""

import hashlib
import shutil
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import numpy as np

from behaviour import conversation
from behaviour.checkouts import Bench, Failed
from behaviour.comparing import FAILED
from behaviour.plans import stored_tasks
from behaviour.recording import Values, below, excluded, from_folder, load, text

SAMPLERS = ("ddpm", "para-ddpm", "speculative-ddpm:window=8", "ddim-10", "dpm-solver-10")
# An old checkpoint's plans are compared with few evaluations: that they are its own is what is looked at.
QUICK_SAMPLERS = ("ddim-10", "dpm-solver-10")
# How a command wants something said: by the first of these options that its help knows.
Wording = Mapping[str, tuple[str, ...]]
FLOW: Wording = {"--process": ("--process", "flow"), "--prediction-type": ("--prediction-type", "flow_prediction")}
_HALF_DONE_SECONDS = 300.0

COLLECT = ("collect", "pusht", "--workers", 1, "--out", "pusht.zarr")
TRAIN = ("train", "pusht", "--data", "pusht.zarr", "--no-bf16", "--log-every", 1, "--batch-size", 32, "--save-every", 5)
UNET = (*TRAIN, "--steps", 20, "--channels", 8, 16)
TRANSFORMER = (*TRAIN, "--steps", 20, "--network", "transformer", "--layers", 2, "--embedding", 32)
ROLLOUT = ("rollout", "pusht", "--sampler", "ddim-10", "--engine", "eager", "--videos", 0, "--out", "run")
TOGETHER = ("rollout", "lift", "--sampler", "speculative-ddpm:window=8", "--envs", 2, "--controller", "ahead-blend")
IN_TIME = ("--clock", "fixed:100", "--max-steps", 40, "--engine", "eager", "--videos", 0, "--out", "lift-run")
EVALUATE = ("evaluate", "pusht", "--samplers", "ddim-4,ddpm-4", "--envs", 2, "--workers", 1, "--engine", "eager")
SHORT = ("--max-steps", 24, "--seed", 0, "--out", "evaluation")
SERVED = ("--sampler", "speculative-ddpm:window=8", "--engine", "eager", "--threads", 1)

Part = Callable[[Bench], Values]
# Goes on with what lies in an earlier commit's folder.
Later = Callable[[Bench, Path], Values]


def plans(task: str) -> Part:
    def record(bench: Bench) -> Values:
        return _plans(bench, task, bench.checkout.pretrained[task], SAMPLERS)

    return record


def demonstrations(bench: Bench) -> Values:
    """Collects demonstrations with the planner on the board, and with the waypoints of the arm."""
    bench.paradp(*COLLECT, "--episodes", 3)
    bench.paradp("collect", "lift", "--episodes", 1, "--workers", 1, "--out", "lift.zarr")
    inspected = {"inspected": text(bench.paradp("data", "inspect", "pusht.zarr"))}
    return inspected | below("pusht", _of(bench, "pusht.zarr")) | below("lift", _of(bench, "lift.zarr"))


def training(bench: Bench) -> Values:
    """Two trainings of 20 steps, and a third that was killed."""
    bench.paradp(*UNET, "--out", "unet")
    bench.paradp(*TRANSFORMER, *_said(bench, "train", FLOW), "--out", "transformer")
    _kill_half_done(bench)
    return below("unet", _of(bench, "unet")) | below("transformer", _of(bench, "transformer"))


def runs(bench: Bench) -> Values:
    """Rollouts with one robot at a time, and with two robots whose chunks are late and blended."""
    bench.paradp(*ROLLOUT, "--episodes", 2)
    bench.paradp(*TOGETHER, *IN_TIME, "--episodes", 2)
    return below("pusht", _of(bench, "run")) | below("lift", _of(bench, "lift-run"))


def evaluation(bench: Bench) -> Values:
    bench.paradp(*EVALUATE, *SHORT, "--episodes", 2)
    return _of(bench, "evaluation")


def server(bench: Bench) -> Values:
    return conversation.record(bench, *SERVED)


def old_checkpoints(bench: Bench, earlier: Path) -> Values:
    """The earlier commit's pretrained policies and the policies of its two trainings, by directory."""
    values: Values = {}
    for folder in sorted((earlier / "pretrained").iterdir()):
        values |= below(folder.name, _plans(bench, folder.name, folder, QUICK_SAMPLERS))
    values |= below("unet", _plans(bench, "pusht", earlier / "unet/checkpoint", QUICK_SAMPLERS))
    values |= below("transformer", _plans(bench, "pusht", earlier / "transformer/checkpoint", ("flow-10", "para-flow-10")))
    values["card"] = text(bench.paradp("info", "--checkpoint", earlier / "unet/checkpoint"))
    return values


def old_store(bench: Bench, earlier: Path) -> Values:
    """Inspects an earlier commit's demonstrations, trains on them, and continues them."""
    bench.copy(earlier / "pusht.zarr", "pusht.zarr")
    values = {"inspected": text(bench.paradp("data", "inspect", "pusht.zarr"))}
    bench.paradp(*UNET, "--out", "unet")
    values |= below("trained", {k: v for k, v in _of(bench, "unet").items() if k.startswith("metrics.jsonl")})
    bench.paradp(*COLLECT, "--episodes", 4)
    return values | below("continued", _of(bench, "pusht.zarr"))


def old_training(bench: Bench, earlier: Path) -> Values:
    """Continues a killed training to its end, and checks that a finished one is not changed."""
    for name in ("pusht.zarr", "half-done", "unet"):
        bench.copy(earlier / name, name)
    bench.paradp(*UNET, "--out", "half-done")
    before = _digest(bench, "unet", "metrics.jsonl")
    bench.paradp(*UNET, "--out", "unet")
    same = {"finished/unchanged": np.array(_digest(bench, "unet", "metrics.jsonl") == before)}
    return same | below("continued", _of(bench, "half-done"))


def old_run(bench: Bench, earlier: Path) -> Values:
    """The same command shows the run without repeating it; with more episodes it continues the run."""
    bench.copy(earlier / "run", "run")
    before = _digest(bench, "run", "episodes/*.json")
    shown = _rows(bench.paradp(*ROLLOUT, "--episodes", 2))
    bench.paradp(*ROLLOUT, "--episodes", 3)
    kept = {"shown": shown, "unchanged": np.array(_digest(bench, "run", "episodes/[01].json") == before)}
    return kept | below("continued", _of(bench, "run"))


def old_evaluation(bench: Bench, earlier: Path) -> Values:
    """As `old_run`."""
    bench.copy(earlier / "evaluation", "evaluation")
    before = _digest(bench, "evaluation", "cells/*/episodes/*.json")
    shown = _rows(bench.paradp(*EVALUATE, *SHORT, "--episodes", 2))
    bench.paradp(*EVALUATE, *SHORT, "--episodes", 3)
    kept = {"shown": shown, "unchanged": np.array(_digest(bench, "evaluation", "cells/*/episodes/[01].json") == before)}
    return kept | below("continued", _of(bench, "evaluation"))


PARTS: dict[str, Part] = {
    **{f"plans of {task}": plans(task) for task in stored_tasks()},
    "demonstrations": demonstrations,
    "training": training,
    "runs": runs,
    "evaluation": evaluation,
    "server": server,
}
LATER: dict[str, Later] = {
    "old checkpoints": old_checkpoints,
    "old store": old_store,
    "old training": old_training,
    "old run": old_run,
    "old evaluation": old_evaluation,
}
# Whose leavings a later part takes.
NEEDS = {
    "training": ("demonstrations",),
    "old checkpoints": ("demonstrations", "training"),
    "old store": ("demonstrations",),
    "old training": ("demonstrations", "training"),
    "old run": ("runs",),
    "old evaluation": ("evaluation",),
}


def recorded(name: str, part: Callable[[], Values]) -> Values:
    """The values of a part, or the reason why there are none."""
    try:
        return below(name, part())
    except Exception as error:  # whatever it is: the other parts are recorded all the same
        return {f"{name}/{FAILED}": np.array(f"{type(error).__name__}: {error}")}


def leave(bench: Bench) -> None:
    """Copies the commit's pretrained policies beside the outputs of its parts."""
    for name, path in bench.checkout.pretrained.items():
        shutil.copytree(path, bench.folder / "pretrained" / name)


def _plans(bench: Bench, task: str, checkpoint: Path, samplers: Iterable[str]) -> Values:
    out = bench.folder / "plans.npz"
    bench.python("behaviour.plans:main", checkpoint, task, out, *samplers)
    return load(out)


def _of(bench: Bench, name: str) -> Values:
    return {name: value for name, value in from_folder(bench.folder / name).items() if not excluded(name)}


def _said(bench: Bench, command: str, wording: Wording) -> tuple[str, ...]:
    """The first option that the command's help contains."""
    known = bench.paradp(command, "--help")
    for option, words in wording.items():
        if option in known:
            return words
    raise Failed(f"paradp {command} has none of {', '.join(wording)}: name the new option in behaviour.parts")


def _kill_half_done(bench: Bench) -> None:
    """Starts a training and kills it after it has saved a state."""
    process, until = bench.start(*UNET, "--out", "half-done"), time.monotonic() + _HALF_DONE_SECONDS
    try:
        while not (bench.folder / "half-done/state.safetensors").exists():
            if process.poll() is not None or time.monotonic() > until:
                raise Failed(f"no training that saves its state: it ended in {process.poll()}")
            time.sleep(0.005)
        if process.poll() is not None:
            raise Failed("the training was over before it could be killed")
    finally:
        process.kill()
        process.communicate()


def _digest(bench: Bench, folder: str, pattern: str) -> str:
    """A digest of the content of some files."""
    found = hashlib.sha256()
    for path in sorted((bench.folder / folder).glob(pattern)):
        found.update(f"{path.name}\n".encode() + path.read_bytes())
    return found.hexdigest()


def _rows(printed: str) -> np.ndarray:
    """The rows of a table."""
    return text("\n".join(line for line in printed.splitlines() if line.startswith(("│", "┃"))))

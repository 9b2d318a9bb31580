"""Small policies, a store, a training and a run written by the current code, and their numbers.

policies/NETWORK-PREDICTION/   checkpoints of some kB, trained on PushT
demonstrations.zarr            three episodes of PushT's planner
training/                      a training of 20 steps that was interrupted after 10
run/                           a run of two short episodes; without alone/, which is measured again
recorded.npz                   plans, losses and episodes
recorded_on.json               the kind of machine that they were recorded on

python -m behaviour.fixtures record    records the numbers anew, from the stored policies and the stored store
python -m behaviour.fixtures make      makes policies, store, training and run as well
"""

import argparse
import json
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

import numpy as np

from behaviour.plans import STATISTICS
from behaviour.plans import record as plans_of
from behaviour.recording import Values, below, from_folder, save

FOLDER = Path(__file__).parent.parent / "data" / "behaviour"
STORE, POLICIES, TRAINING, RUN = (FOLDER / name for name in ("demonstrations.zarr", "policies", "training", "run"))
RECORDED, RECORDED_ON = FOLDER / "recorded.npz", FOLDER / "recorded_on.json"
TASK = "pusht"
ENVIRONMENTS = 4
PREDICTIONS = {
    "unet": ("epsilon", "sample", "v_prediction", "flow_prediction"),
    "transformer": ("epsilon", "flow_prediction"),
}
DIFFUSION = (
    "ddpm",
    "para-ddpm",
    "speculative-ddpm:window=8",
    "ddim-10",
    "para-ddim-10:tolerance=0",
    "dpm-solver-10",
    "sde-dpm-solver-10",
    "speculative-sde-dpm-solver-10",
)
FLOW = ("flow-10", "flow-4", "para-flow-10", "para-flow-10:tolerance=0")
_HELP = """`record` is legitimate only where a change is meant to change the numbers, or where the recorded kind of machine
can no longer be had: say in the commit's message which, and show with `make compare` that nothing else changed. `make` is
legitimate only where a new format begins: the old files are what says that the old format is still read, so move them to
a folder of their own, with their tests, before they are made anew."""


TRAININGS = {
    "transformer-epsilon": ("--network", "transformer", "--layers", 1, "--embedding", 8),
    "unet-flow": ("--channels", 8, 16, "--prediction-type", "flow_prediction"),
    "unet-v": ("--channels", 8, 16, "--prediction-type", "v_prediction"),
}
INTERRUPTED = "transformer-epsilon"
# What cannot be compared between machines: where a draft and its target hardly differ, the coupling of the two divides by
# their distance, and makes rounding larger than 1e-4.
ILL_CONDITIONED = {"unet-sample": ("speculative-ddpm:window=8",)}


def samplers(policy: str) -> tuple[str, ...]:
    """The samplers of a stored policy."""
    fitting = FLOW if policy.endswith("-flow") else DIFFUSION
    return tuple(sampler for sampler in fitting if sampler not in ILL_CONDITIONED.get(policy, ()))


def stored_policies() -> list[str]:
    return sorted(path.name for path in POLICIES.iterdir())


def plans(policy: str) -> Values:
    """Plans of a stored policy for some stored observations: sampler → actions, and statistics `[4, environments]`."""
    recorded = plans_of(POLICIES / policy, TASK, samplers(policy), ENVIRONMENTS)
    values: Values = {}
    for sampler in samplers(policy):
        values[f"{sampler}/actions"] = recorded[f"{sampler}/actions"]
        values[f"{sampler}/statistics"] = np.stack([recorded[f"{sampler}/{name}"] for name in STATISTICS]).astype(np.float64)
    return values


def train(name: str, out: Path) -> Values:
    """Trains 20 steps on the stored demonstrations, or continues in `out`; returns the losses of every step."""
    often = "--batch-size", 8, "--log-every", 1, "--save-every", 10, "--validation-every", 2
    paradp("train", TASK, "--data", STORE, "--out", out, *TRAININGS[name], "--steps", 20, *often, "--no-bf16")
    return {name.removeprefix("metrics.jsonl/"): v for name, v in from_folder(out).items() if name.startswith("metrics")}


def roll_out(out: Path, episodes: int) -> None:
    """Runs short episodes with a stored policy, or continues the run in `out`."""
    short = "--max-steps", 16, "--videos", 0, "--engine", "eager"
    checkpoint = POLICIES / "unet-epsilon"
    paradp("rollout", TASK, "--checkpoint", checkpoint, "--sampler", "ddim-10", *short, "--episodes", episodes, "--out", out)


def steps_of(run: Path) -> Values:
    """The control steps of a run, without times."""
    return {
        name.removeprefix("steps.parquet/"): value for name, value in from_folder(run).items() if name.startswith("steps.")
    }


def paradp(*words: object) -> None:
    """Runs a command of paradp in this process, on one core, because the number of threads affects the last bits.

    Raises:
        SystemExit: it ended with an error.
    """
    from paradp.scripts.main import main

    with one_core(), patch.object(sys, "argv", ["paradp", *map(str, words)]):
        main()


@contextmanager
def one_core() -> Iterator[None]:
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def machine() -> dict[str, str]:
    """The kind of machine that affects last bits: the processor, PyTorch's instruction set, and the libraries.

    Virtual machines give processors of several generations one name, so the processor's model number counts as well.
    """
    import torch

    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    told = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in reversed(lines))}
    return {
        "cpu": told.get("model name", platform.machine()),
        "model": told.get("model", ""),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "torch": torch.__version__,
        "numpy": np.__version__,
    }


def record() -> None:
    """Computes the numbers again."""
    values: Values = {}
    for policy in stored_policies():
        values |= below(f"plans/{policy}", plans(policy))
    with tempfile.TemporaryDirectory() as folder:
        for name in TRAININGS:
            values |= below(f"losses/{name}", train(name, Path(folder) / name))
        roll_out(Path(folder) / "run", 3)
        values |= below("steps", steps_of(Path(folder) / "run"))
    save(values, RECORDED)
    RECORDED_ON.write_text(json.dumps(machine(), indent=2) + "\n")


def make() -> None:
    """Makes all fixtures again."""
    shutil.rmtree(FOLDER, ignore_errors=True)
    paradp("collect", TASK, "--episodes", 3, "--workers", 1, "--out", STORE)
    make_policies()
    interrupted = patch("paradp.checkpoints.save_checkpoint", side_effect=KeyboardInterrupt)
    try:
        with interrupted:
            train(INTERRUPTED, TRAINING)
    except SystemExit:
        for left_over in TRAINING.glob(".*"):
            left_over.unlink()
    roll_out(RUN, 2)
    shutil.rmtree(RUN / "alone")
    for left_over in [*RUN.glob(".*"), RUN / "alone.parquet", *RUN.glob("comparison.*")]:
        left_over.unlink()


def make_policies() -> None:
    """Trains small policies for a few steps."""
    from paradp.checkpoints import save_checkpoint
    from paradp.policy import TransformerConfig, UnetConfig
    from paradp.policy.data.demonstrations import Demonstrations
    from paradp.policy.learning.config import TrainingConfig
    from paradp.policy.learning.training import train as run
    from paradp.policy.process_config import DiffusionConfig, FlowConfig

    networks = {
        "unet": UnetConfig(channels=(4, 8), kernel_size=3, groups=4, timestep_embedding=8),
        "transformer": TransformerConfig(layers=1, heads=2, embedding=12),
    }
    for network, predictions in PREDICTIONS.items():
        for prediction in predictions:
            process = FlowConfig() if prediction == "flow_prediction" else DiffusionConfig(prediction)
            parts = {"network": networks[network], "process": process}
            config = TrainingConfig(600, 64, 3e-3, 50, bf16=False, validation_every=3, **parts)
            path = POLICIES / f"{network}-{prediction.removesuffix('_prediction')}"
            with tempfile.TemporaryDirectory() as folder:
                trained = run(Demonstrations.open(STORE), config, Path(folder) / "training", lambda trained, path: None)
            save_checkpoint(trained, path, f"A small policy of PushT, for tests: {network}, {prediction}.\n", half=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m behaviour.fixtures", description=_HELP)
    parser.add_argument("what", choices=["record", "make"])
    if parser.parse_args().what == "make":
        make()
    record()


if __name__ == "__main__":
    main()

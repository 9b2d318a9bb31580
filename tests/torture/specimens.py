"""A valid file or folder of every kind that paradp reads, and the function that opens it.

Openers run in a process of their own (`torture.opening`). They return the arrays that were read, so that it can be seen
whether any of them came from a file outside."""

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from torture.world import World

# Values of a file outside that links lead to.
SECRET = 12_345_678.0


@dataclass(frozen=True)
class Kind:
    """A kind of input.

    Attributes:
        make: writes a sound one to a path.
        open: reads one as a command would; raises ValueError or OSError where it cannot be read.
    """

    make: Callable[[World, Path], None]
    open: Callable[[World, Path], list[np.ndarray]]


def _copied(source: Callable[[World], Path]) -> Callable[[World, Path], None]:
    def make(world: World, path: Path) -> None:
        found = source(world)
        shutil.copytree(found, path) if found.is_dir() else shutil.copyfile(found, path)

    return make


def _open_demonstrations(world: World, path: Path) -> list[np.ndarray]:
    from paradp.policy.data.dataset import largest_step
    from paradp.policy.data.demonstrations import Demonstrations

    there = Demonstrations.open(path)
    return [*there.observations().values(), there.actions(), there.seeds, largest_step(there)]


def _make_recordings(world: World, path: Path) -> None:
    """A small file in robomimic's layout."""
    import h5py

    sizes = {"robot0_eef_pos": 3, "robot0_eef_quat": 4, "robot0_gripper_qpos": 2, "object": 10}
    settings = {"robots": ["Panda"], "control_freq": 20}
    arguments = {"env_name": "Lift", "env_version": "1.4.1", "type": 1, "env_kwargs": settings}
    with h5py.File(path, "w") as file:
        data = file.create_group("data")
        data.attrs["env_args"] = json.dumps(arguments)
        for i in range(3):
            values, demo = np.random.default_rng(i), data.create_group(f"demo_{i}")
            for key, size in sizes.items():
                demo[f"obs/{key}"] = values.uniform(-1, 1, (20, size))
            demo["actions"] = values.uniform(-0.9, 0.9, (20, 7))
        file["mask/train"] = np.array([b"demo_0", b"demo_1"])


def _open_recordings(world: World, path: Path) -> list[np.ndarray]:
    from paradp.rollouts.imports.defects import defects, remarks
    from paradp.rollouts.imports.recordings import read_file

    file = read_file(path)
    defects(file)
    remarks(file)
    if "train" in file.masks:
        file.masked("train")
    return [array for recording in file.recordings for array in recording.arrays.values()]


def _open_checkpoint(world: World, path: Path) -> list[np.ndarray]:
    from paradp.checkpoints import load_trained

    trained = load_trained(path)
    return [parameter.detach().numpy() for parameter in trained.network.parameters()]


def _make_evaluation(world: World, path: Path) -> None:
    """A finished output; made once, then copied."""
    sample = world.folder / "evaluation"
    if not sample.exists():
        from paradp.rollouts.episodes.backends import ThisProcess
        from paradp.rollouts.evaluation.grid import evaluate

        evaluate(_grid(world, sample), backend=ThisProcess())
    shutil.copytree(sample, path)


def _open_evaluation(world: World, path: Path) -> list[np.ndarray]:
    from paradp.rollouts.evaluation.grid import evaluate

    evaluate(_grid(world, path), backend=_Nobody(), on_alone=_refuse)
    return []


class _Nobody:
    """Runs nothing, so missing episodes are reported as missing."""

    def run(self, jobs: Any) -> Iterator[Any]:
        if jobs:
            _refuse(0, len(jobs))
        yield from ()


def _refuse(done: int, total: int) -> None:
    if done < total:
        raise ValueError("episodes are missing and would be run again")


def _grid(world: World, out: Path) -> Any:
    from paradp.rollouts import RolloutConfig
    from paradp.rollouts.evaluation.grid import Grid
    from paradp.sampler import SamplerChoice

    choice = SamplerChoice.parse("ddim-2")
    base = RolloutConfig(
        "pusht", choice, out, str(world.checkpoint), episodes=2, envs=2, threads=1, engine="eager", max_steps=10
    )
    return Grid(base, (choice,), max_steps=(10,))


def _make_latencies(world: World, path: Path) -> None:
    import pandas as pd

    pd.DataFrame({"seed": [0] * 9, "replan_seconds": np.linspace(0.01, 0.2, 9)}).to_parquet(path, index=False)


def _open_latencies(world: World, path: Path) -> list[np.ndarray]:
    from paradp.rollouts.episodes.clocks import ClockChoice

    return [np.array(ClockChoice.parse(f"replay:{path}").latencies)]


def _make_lines(world: World, path: Path) -> None:
    path.write_text("".join(f"{10 + i}\n" for i in range(20)))


def _open_training(world: World, path: Path) -> list[np.ndarray]:
    """Continues a training that has one step left."""
    from paradp.policy.data.demonstrations import Demonstrations
    from paradp.policy.learning.training import train

    trained = train(Demonstrations.open(world.demonstrations), _training(3), path, lambda trained, path: None)
    return [parameter.detach().numpy() for parameter in trained.network.parameters()]


def _make_training(world: World, path: Path) -> None:
    """A training that was killed after two of three steps."""
    from paradp.policy.data.demonstrations import Demonstrations
    from paradp.policy.learning.training import train

    class Killed(Exception):
        pass

    def kill(step: int, loss: float) -> None:
        if step == 3:
            raise Killed

    with suppress(Killed):
        train(Demonstrations.open(world.demonstrations), _training(3), path, lambda trained, path: None, kill)


def _training(steps: int) -> Any:
    from paradp.policy.learning.training import TrainingConfig
    from paradp.policy.networks.unet_config import UnetConfig

    small = UnetConfig(channels=(8, 16))
    return TrainingConfig(steps=steps, batch_size=8, network=small, bf16=False, save_every=2, log_every=1)


def _make_profile(world: World, path: Path) -> None:
    from paradp.policy.engines.autotune.profile import Planned, Profile, Trial

    planned = {"ddpm, batch 1": Planned("ddpm", 1, {"ddpm": 0.1})}
    Profile({1: 0.001, 8: 0.002}, {"ddpm": Trial([100], 1.0)}, planned).write(path)


def _open_profile(world: World, path: Path) -> list[np.ndarray]:
    from paradp.policy.engines.autotune.profile import Profile

    Profile.read(path)
    return []


def _make_fidelity(world: World, path: Path) -> None:
    from paradp.policy.fidelity import Fidelity, Interval, StepsFidelity

    one = Interval(0.5, 0.4, 0.6)
    steps = {"ddpm-8": StepsFidelity(one, 0.5, one, one), "ddpm-3:timesteps=99-40-0": StepsFidelity(one, 0.5, one, one)}
    Fidelity("0" * 64, "paradp fidelity x", "demonstrations", 8, 8, 0, 0.9, "eager fp32", {"torch": "2"}, steps).write(path)


def _open_fidelity(world: World, path: Path) -> list[np.ndarray]:
    from paradp.policy.fidelity import Fidelity
    from paradp.policy.spec import DEFAULT_SCHEDULE

    measured = Fidelity.read(path, "0" * 64, DEFAULT_SCHEDULE)
    return [np.array([one.energy.value for one in measured.steps.values()])]


def _make_summary(world: World, path: Path) -> None:
    _make_evaluation(world, path.with_name("for-summary"))
    found = next(path.with_name("for-summary").rglob("summary.json"))
    shutil.copyfile(found, path)
    shutil.rmtree(path.with_name("for-summary"))


def _open_summary(world: World, path: Path) -> list[np.ndarray]:
    from paradp.rollouts.episodes.summary import Summary

    Summary.read(path)
    return []


KINDS: dict[str, Kind] = {
    "demonstrations": Kind(_copied(lambda world: world.demonstrations), _open_demonstrations),
    "recordings.hdf5": Kind(_make_recordings, _open_recordings),
    "checkpoint": Kind(_copied(lambda world: world.checkpoint), _open_checkpoint),
    "evaluation": Kind(_make_evaluation, _open_evaluation),
    "training": Kind(_make_training, _open_training),
    "latencies.parquet": Kind(_make_latencies, _open_latencies),
    "latencies.txt": Kind(_make_lines, _open_latencies),
    "summary.json": Kind(_make_summary, _open_summary),
    "autotune.json": Kind(_make_profile, _open_profile),
    "fidelity.json": Kind(_make_fidelity, _open_fidelity),
}

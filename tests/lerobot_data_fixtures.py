"""A data set that LeRobot wrote, see `tests/data/lerobot_dataset/make.py`, and small demonstrations of ours."""

import os
import shutil
import subprocess
from pathlib import Path

import numpy as np

from paradp.bridges.lerobot_data.columns import Columns
from paradp.bridges.lerobot_data.writing import export_lerobot
from paradp.policy.data.demonstrations import Demonstrations
from paradp.policy.data.episode import DemonstrationEpisode, DemonstrationInfo

THEIRS = Path(__file__).parent / "data/lerobot_dataset/reach"
READ = THEIRS.parent / "read.npz"  # as LeRobot reads it
LENGTHS = (5, 1, 7, 4)
FACTS = {"task": "reach", "action_low": (-1, -1), "action_high": (1, 1)}

INFO = DemonstrationInfo(
    task="lift",
    action_convention="absolute",
    observation={"eef_pos": 3, "gripper": 1, "cube": 4, "camera": (20, 24, 3)},
    action={"goal": 2, "grip": 1},
    action_low=(-1.0, -1.0, 0.25),
    action_high=(1.0, 1.0, 0.5),
    control_hz=20,
    controller={"kp": 150.0},
    made_with={},
)


def copied(folder: Path) -> Path:
    """A copy of LeRobot's data set, which a test may damage."""
    return Path(shutil.copytree(THEIRS, folder / "reach"))


def demonstrations(
    path: Path, lengths: tuple[int, ...] = (6, 1, 9), spoilt: bool = False, frozen: bool = False
) -> Demonstrations:
    """Episodes of random numbers and pictures.

    Args:
        path: the zarr group.
        lengths: of the episodes.
        spoilt: with a number that is not finite.
        frozen: the camera shows one picture in the first episode, and nothing but black in the others.
    """
    there, rng = Demonstrations.open_or_create(path, INFO), np.random.default_rng(0)
    for seed, length in enumerate(lengths):
        observed = {
            key: rng.normal(size=(length, size)).astype(np.float32)
            for key, size in INFO.observation.items()
            if key != "camera"
        }
        observed["camera"] = rng.integers(0, 256, (length, 20, 24, 3), np.uint8)
        if spoilt:
            observed["eef_pos"][0, 1] = np.nan
        if frozen:
            observed["camera"][:] = 9 if seed == 0 else 0
        actions = rng.uniform(-1, 1, (length, 3)).astype(np.float32)
        there.append(DemonstrationEpisode(observed, actions, actions, seed))
    there.close()
    return Demonstrations.open(path)


def check_that_lerobot_reads(python: Path, folder: Path) -> None:
    """Exports demonstrations, and compares with them what LeRobot's own class reads.

    Args:
        python: the interpreter of an environment with LeRobot.
        folder: where to write.
    """
    ours = demonstrations(folder / "demos.zarr")
    columns = export_lerobot(ours, folder / "made", instruction="lift the cube")
    program = Path(__file__).parent / "lerobot_reads.py"
    alone = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_CACHE": str(folder / "cache"), "PYTHONPATH": ""}
    subprocess.run([python, program, folder / "made", folder / "read.npz"], check=True, env=os.environ | alone)
    read, seen = np.load(folder / "read.npz"), ours.observations()
    expected = {key: columns.side_by_side(key, seen) for key in columns.vectors if key != "action"}
    expected |= {"action": ours.actions(), **{key: seen[name] for key, name in columns.images.items()}}
    for key, values in expected.items():
        assert np.array_equal(read[key], values), key
    assert columns == Columns.of(INFO.observation, INFO.action)
    assert list(read["episode_index"]) == [0] * 6 + [1] + [2] * 9
    assert (list(read["task"]), list(read["fps"]), list(read["padded"])) == (["lift the cube"], [20], [True, False])
    assert np.allclose(read["stats action max"], ours.actions().max(0))
    assert read["stats observation.images.camera mean"].shape == (3, 1, 1)

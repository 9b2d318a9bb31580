"""Checkpoints that LeRobot wrote, and what it computes with them; see `tests/data/lerobot/make.py`."""

import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from lerobot_weights import LEFT_OUT, left_out
from safetensors.torch import load_file, save_file
from torch import Tensor

FIXTURES = Path(__file__).parent / "data/lerobot"
NAMES = sorted(path.parent.name for path in FIXTURES.glob("*/config.json"))
# In all of them an action has three dimensions, and chunks are not clipped by such limits.
FACTS = {"task": "reach", "control_hz": 10, "action_low": (-1e6,) * 3, "action_high": (1e6,) * 3}


def put_together(name: str, folder: Path) -> Path:
    """A fixture as LeRobot wrote it, with the weights of its ResNets."""
    shutil.copytree(FIXTURES / name, folder, ignore=shutil.ignore_patterns("reference.safetensors", LEFT_OUT))
    if missing := left_out(FIXTURES / name):
        weights = {key: torch.from_numpy(values) for key, values in missing.items()}
        save_file(load_file(folder / "model.safetensors") | weights, folder / "model.safetensors")
    return folder


def answers(name: str) -> dict[str, Tensor]:
    """What LeRobot was asked, and what it answered."""
    return load_file(FIXTURES / name / "reference.safetensors")


def seen(answer: Mapping[str, Tensor]) -> dict[str, np.ndarray]:
    """The observed steps of an answer, by feature `[B, To, …]`."""
    keys = dict.fromkeys(name.split(".", 1)[1] for name in answer if name.startswith("seen"))
    steps = sorted({name.split(".", 1)[0] for name in answer if name.startswith("seen")})
    return {key: np.stack([answer[f"{step}.{key}"].numpy() for step in steps], 1) for key in keys}

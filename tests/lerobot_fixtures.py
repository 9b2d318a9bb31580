"""Checkpoints that LeRobot wrote, and what it computes with them; see `tests/data/lerobot/make.py`."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from lerobot_weights import LEFT_OUT, left_out
from safetensors.torch import load_file, save_file
from torch import Tensor

from paradp.bridges.lerobot_config import read_config
from paradp.bridges.lerobot_names import their_name
from paradp.policy import ConditionalUnet1D, UnetConfig

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
    """The inputs of LeRobot and its outputs."""
    return load_file(FIXTURES / name / "reference.safetensors")


def seen(answer: Mapping[str, Tensor]) -> dict[str, np.ndarray]:
    """The observed steps of an answer, by feature `[B, To, …]`."""
    keys = dict.fromkeys(name.split(".", 1)[1] for name in answer if name.startswith("seen"))
    steps = sorted({name.split(".", 1)[0] for name in answer if name.startswith("seen")})
    return {key: np.stack([answer[f"{step}.{key}"].numpy() for step in steps], 1) for key in keys}


def for_pusht(folder: Path) -> Path:
    """A checkpoint for the task PushT in LeRobot's form, with random weights, made of a fixture of theirs; without facts."""
    put_together("min_max", folder)
    sizes = {"observation.state": 2, "observation.environment_state": 16, "action": 2}
    for name in ("config.json", "policy_preprocessor.json", "policy_postprocessor.json"):
        content = json.loads((folder / name).read_text())
        described = [content] if name == "config.json" else [step["config"] for step in content["steps"]]
        features = [one.get(kind, {}) for one in described for kind in ("input_features", "output_features", "features")]
        for found in features:
            for key in found.keys() & sizes.keys():
                found[key]["shape"] = [sizes[key]]
        (folder / name).write_text(json.dumps(content))
    for path in folder.glob("policy_*.safetensors"):
        ends = {"min": 0.0, "max": 512.0}
        numbers = {f"{key}.{end}": torch.full((size,), at) for key, size in sizes.items() for end, at in ends.items()}
        save_file(numbers, path)
    config = read_config(folder)
    torch.manual_seed(0)
    network = ConditionalUnet1D(2, 2 * 18, UnetConfig(channels=config.down_dims, timestep_embedding=16))
    weights = {their_name(name, config): tensor.contiguous() for name, tensor in network.state_dict().items()}
    save_file(weights, folder / "model.safetensors")
    return folder


PUSHT = """task: pusht
control_hz: 10
action_low: [0, 0]
action_high: [512, 512]
action_convention: position
controller: {kp: 100, kv: 20}
observation:
  observation.state: {agent_pos: 2}
  observation.environment_state: {block_keypoints: 16}
action: {goal_xy: 2}
"""

"""Checkpoints of Diffusion Policy and robomimic, and what these compute; see `tests/data/diffusion_policy/make.py`."""

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from lerobot_weights import weights
from safetensors.torch import load_file
from torch import Tensor

from paradp.bridges.configuration import Configuration
from paradp.bridges.tensor_names import unet_name
from paradp.bridges.torch_file import SavedTensor, TorchFile
from paradp.policy import ConditionalUnet1D, UnetConfig

FIXTURES = Path(__file__).parent / "data/diffusion_policy"
NAMES = sorted(path.parent.name for path in FIXTURES.glob("*/reference.safetensors"))
# In all of them an action has three dimensions, and chunks are not clipped by such limits.
FACTS = {"task": "reach", "control_hz": 10, "action_low": (-1e6,) * 3, "action_high": (1e6,) * 3}


def put_together(name: str, folder: Path) -> Path:
    """A fixture as its program wrote it, with the weights of its encoders of images."""
    source = next((FIXTURES / name).glob("checkpoint.*"))
    target = folder / f"{name}{source.suffix}"
    if not (FIXTURES / name / "left_out.json").exists():
        target.write_bytes(source.read_bytes())
        return target
    left_out = json.loads((FIXTURES / name / "left_out.json").read_text())
    with zipfile.ZipFile(source) as stored, zipfile.ZipFile(target, "w") as whole:
        for member in stored.namelist():
            whole.writestr(member, stored.read(member))
        for member, (key, shape) in left_out.items():
            whole.writestr(member, weights(key, shape).tobytes())
    return target


def answers(name: str) -> Mapping[str, Tensor]:
    """The inputs of the policy and its outputs."""
    return load_file(FIXTURES / name / "reference.safetensors")


def content_of(path: Path) -> dict[str, Any]:
    """The content of a checkpoint as plain values and tensors, which a test may change and save with torch.save."""
    file = TorchFile.open(path)

    def plain(value: Any) -> Any:
        if isinstance(value, SavedTensor):
            return file.values(value, 10**8).to(value.storage.dtype)
        if isinstance(value, dict):
            return {key: plain(one) for key, one in value.items()}
        return [plain(one) for one in value] if isinstance(value, list) else value

    content = dict(file.content)
    if "cfg" in content:
        content["cfg"], content["pickles"] = Configuration(content["cfg"])._values, {}
        content["state_dicts"] = {name: one for name, one in content["state_dicts"].items() if name != "optimizer"}
    else:
        content["model"] = {name: content["model"][name] for name in ("nets", "ema")}
    return plain(content)


def for_pusht(path: Path) -> Path:
    """A checkpoint for the task PushT in Diffusion Policy's form, with random weights; without facts."""
    torch.manual_seed(0)
    network = ConditionalUnet1D(2, 2 * 18, UnetConfig(channels=(16, 24), timestep_embedding=16))
    state = {f"model.{unet_name(name)}": tensor for name, tensor in network.state_dict().items()}
    for key, size in (("obs", 18), ("action", 2)):
        state |= {f"normalizer.params_dict.{key}.{part}": torch.full((size,), at) for part, at in PIXELS.items()}
    scheduler = {"_target_": "diffusers.DDPMScheduler", "num_train_timesteps": 100, "beta_schedule": "squaredcos_cap_v2"}
    settings = {"_target_": "x.DiffusionUnetLowdimPolicy", "horizon": 16, "n_obs_steps": 2, "n_action_steps": 8}
    settings |= {"obs_as_global_cond": True, "oa_step_convention": True, "model": {"n_groups": 8}}
    settings |= {"noise_scheduler": scheduler | {"prediction_type": "epsilon", "clip_sample": True}}
    torch.save({"cfg": {"policy": settings}, "state_dicts": {"model": state}, "pickles": {}}, path)
    return path


PIXELS = {"scale": 2 / 512, "offset": -1.0}
PUSHT = """task: pusht
control_hz: 10
action_low: [0, 0]
action_high: [512, 512]
action_convention: position
controller: {kp: 100, kv: 20}
observation:
  obs: {agent_pos: 2, block_keypoints: 16}
action: {goal_xy: 2}
"""

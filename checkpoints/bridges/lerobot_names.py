"""Maps the names of our network's tensors to those of LeRobot's diffusion policy."""

from collections.abc import Mapping

import torch
from torch import Tensor

from paradp.bridges.lerobot_config import LeRobotConfig
from paradp.policy.files.tensors import TensorFile

_STAGES = {"down": "down_modules", "up": "up_modules"}
_PARTS = {"first": "0", "second": "1", "resample": "2"}
_BLOCK = {"first": "conv1.block", "second": "conv2.block", "film": "cond_encoder", "residual": "residual_conv"}
_VISION = {"pool.maps": "pool.nets", "pool.places": "pool.pos_grid"}
_COMPILED = "_orig_mod."


def their_name(name: str, config: LeRobotConfig) -> str:
    """Returns LeRobot's name of one of our network's tensors."""
    head, *rest = name.split(".")
    if head == "vision":
        _, number, *inside = rest
        inner = ".".join(inside)
        for ours, theirs in _VISION.items():
            inner = inner.replace(ours, theirs)
        camera = f".{number}" if config.use_separate_rgb_encoder_per_camera else ""
        return f"diffusion.rgb_encoder{camera}.{inner}"
    if head == "timestep_encoder":
        inside = ["diffusion_step_encoder", *rest]
    elif head == "head":
        inside = ["final_conv", rest[0], *(["block"] if rest[0] == "0" else []), *rest[1:]]
    elif head == "middle":
        inside = ["mid_modules", _PARTS[rest[0]], *_inside_block(rest[1:])]
    else:
        stage, part, *inner_parts = rest
        inside = [_STAGES[head], stage, _PARTS[part], *(inner_parts if part == "resample" else _inside_block(inner_parts))]
    return ".".join(["diffusion.unet", *inside])


def _inside_block(parts: list[str]) -> list[str]:
    return [_BLOCK[parts[0]], *parts[1:]]


def their_shapes(
    shapes: Mapping[str, tuple[int, ...]], config: LeRobotConfig, file: TensorFile
) -> dict[str, tuple[int, ...]]:
    """Returns LeRobot's names and shapes of all tensors of our network, which its file must contain."""
    names = _names(shapes, config, file)
    return {names[name]: _half(shape) if _is_doubled(name, config) else shape for name, shape in shapes.items()}


@torch.no_grad()
def fill(state: Mapping[str, Tensor], config: LeRobotConfig, file: TensorFile) -> None:
    """Reads our network's tensors from LeRobot's file.

    If LeRobot's FiLM has only biases, the scales of ours are set to 1.
    """
    names, targets = _names(state, config, file), {}
    for name, tensor in state.items():
        if _is_doubled(name, config):
            tensor[: len(tensor) // 2] = 1.0 if name.endswith("bias") else 0.0
            tensor = tensor[len(tensor) // 2 :]
        targets[names[name]] = tensor
    file.fill(targets, partly=True)


def _names(ours: Mapping[str, object], config: LeRobotConfig, file: TensorFile) -> dict[str, str]:
    # PyTorch's compiler adds a prefix to the names of a compiled module's tensors.
    compiled = any(name.startswith(f"diffusion.unet.{_COMPILED}") for name in file.tensors)
    names = {name: their_name(name, config) for name in ours}
    if not compiled:
        return names
    return {name: theirs.replace("diffusion.unet.", f"diffusion.unet.{_COMPILED}") for name, theirs in names.items()}


def _is_doubled(name: str, config: LeRobotConfig) -> bool:
    return not config.use_film_scale_modulation and ".film." in name


def _half(shape: tuple[int, ...]) -> tuple[int, ...]:
    return (shape[0] // 2, *shape[1:])

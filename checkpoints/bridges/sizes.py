"""Infers the sizes of Diffusion Policy's and robomimic's networks from their tensors."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

from paradp.bridges.torch_file import SavedTensor, TorchFile
from paradp.policy.features import Shape
from paradp.policy.networks.transformer_config import TransformerConfig
from paradp.policy.networks.unet_config import UnetConfig
from paradp.policy.networks.vision.config import Backbone, VisionConfig
from paradp.policy.networks.vision.resnet import map_shape

Tensors = Mapping[str, SavedTensor]
# Their last normalisation always has this many groups, regardless of n_groups.
_HEAD_GROUPS = 8
# Tensors of image encoders that are not read: constants, and parts stored under a second name.
_CONSTANTS = (".temperature", ".pos_x", ".pos_y")
_SECOND_NAMES = (".backbone.", ".pool.")


def tensors_of(state: Any, what: str) -> dict[str, SavedTensor]:
    """Returns the tensors of a state dict.

    Raises:
        ValueError: it is not a state dict.
    """
    if not isinstance(state, dict) or not state:
        raise ValueError(f"it has no weights of {what}")
    for name, tensor in state.items():
        if not isinstance(name, str) or not isinstance(tensor, SavedTensor):
            raise ValueError(f"{name!r:.120} is not a tensor of {what}")
    return state


def below(tensors: Tensors, prefix: str) -> dict[str, SavedTensor]:
    """Returns the tensors with a prefix in their names, and removes the prefix."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


@dataclass(frozen=True)
class Sizes:
    """The sizes of a denoising network.

    Attributes:
        network: its settings.
        actions: length of an action.
        condition: length of its condition: of all observed steps for a U-Net, of one step for a transformer.
        scales: whether a U-Net's FiLM has scales besides biases.
    """

    network: UnetConfig | TransformerConfig
    actions: int
    condition: int
    scales: bool = True


def unet_sizes(tensors: Tensors, groups: int) -> Sizes:
    """Infers the sizes of a U-Net with global conditions.

    Args:
        tensors: by their names inside the U-Net.
        groups: groups of its normalisation, which cannot be inferred from tensors.

    Raises:
        ValueError: these are not the tensors of a U-Net, or it has local conditions.
    """
    if any(name.startswith("local_cond_encoder.") for name in tensors):
        raise ValueError("its U-Net has local conditions (obs_as_local_cond), which ours has not")
    channels = []
    for level in count():
        if (first := f"down_modules.{level}.0.blocks.0.block.0.weight") not in tensors:
            break
        channels.append(_shape(tensors, first, 3)[0])
    kernel = _shape(tensors, "down_modules.0.0.blocks.0.block.0.weight", 3)[2]
    embedding = _shape(tensors, "diffusion_step_encoder.3.bias", 1)[0]
    film, condition = _shape(tensors, "down_modules.0.0.cond_encoder.1.weight", 2)
    network = UnetConfig(
        channels=tuple(channels),
        kernel_size=kernel,
        groups=groups,
        head_groups=None if groups == _HEAD_GROUPS else _HEAD_GROUPS,
        timestep_embedding=embedding,
    )
    return Sizes(network, _shape(tensors, "final_conv.1.bias", 1)[0], condition - embedding, film == 2 * channels[0])


def transformer_sizes(tensors: Tensors, heads: int) -> Sizes:
    """Infers the sizes of a transformer that decodes actions with cross-attention to the timestep and observations.

    Arguments as of `unet_sizes`.

    Raises:
        ValueError: these are not the tensors of such a transformer.
    """
    if "mask" not in tensors or "memory_mask" not in tensors:
        raise ValueError("its transformer attends to later actions (causal_attn), which ours does not")
    if "encoder.0.weight" not in tensors or "cond_obs_emb.weight" not in tensors:
        raise ValueError("its transformer has n_cond_layers, or no observations as conditions, which ours has not")
    size, observed = _shape(tensors, "cond_obs_emb.weight", 2)
    layers = next(i for i in count() if f"decoder.layers.{i}.linear1.weight" not in tensors)
    if not layers:
        raise ValueError("its transformer has no layers")
    network = TransformerConfig(layers=layers, heads=heads, embedding=size)
    return Sizes(network, _shape(tensors, "head.bias", 1)[0], observed)


def vision_config(
    file: TorchFile, tensors: Tensors, seen: Mapping[str, Shape], crop: tuple[int, int] | None
) -> VisionConfig:
    """Infers the settings of robomimic's image encoder, which Diffusion Policy uses as well.

    Args:
        file: the file with the tensors.
        tensors: by their names inside the encoder.
        seen: shapes of the observations.
        crop: height and width of the centre crop.

    Raises:
        ValueError: it is another encoder; the message names the difference.
    """
    images = {key: shape for key, shape in seen.items() if not isinstance(shape, int)}
    configs = {key: _encoder(below(tensors, f"obs_nets.{key}."), key, crop) for key in images}
    if len(set(configs.values())) > 1:
        raise ValueError("the encoders of its cameras differ, and ours are all of one kind")
    config = next(iter(configs.values()))
    for key, shape in images.items():
        _, height, width = map_shape(config, *config.seen(shape))
        for constant in ("pos_x", "pos_y"):
            if _shape(tensors, name := f"obs_nets.{key}.nets.1.{constant}", 2) != (1, height * width):
                raise ValueError(f"the tensor {name!r:.120} is not of images of {shape[0]} × {shape[1]} pixels")
        if file.values(tensors[f"obs_nets.{key}.nets.1.temperature"], 1).item() != 1:
            raise ValueError(f"the spatial softmax of {key!r:.80} has another temperature than 1, which ours has not")
    return config


def encoder_tensors(tensors: Tensors) -> dict[str, SavedTensor]:
    """Returns the tensors of an image encoder that ours has as well."""
    return {
        name: tensor
        for name, tensor in tensors.items()
        if not name.endswith(_CONSTANTS) and not any(second in name for second in _SECOND_NAMES)
    }


def _encoder(tensors: Tensors, key: str, crop: tuple[int, int] | None) -> VisionConfig:
    needed = ("nets.0.nets.0.weight", "nets.1.nets.weight", "nets.1.temperature", "nets.3.weight")
    if any(name not in tensors for name in needed):
        raise ValueError(f"the encoder of {key!r:.80} is not a ResNet with a spatial softmax and a linear layer")
    keypoints = _shape(tensors, "nets.1.nets.weight", 4)[0]
    if (size := _shape(tensors, "nets.3.weight", 2)[0]) != 2 * keypoints:
        raise ValueError(
            f"the encoder of {key!r:.80} makes {size} numbers of {keypoints} keypoints; ours makes {2 * keypoints} of them"
        )
    return VisionConfig(
        backbone=_backbone(tensors),
        stem=_shape(tensors, "nets.0.nets.0.weight", 4)[0],
        norm="batch" if "nets.0.nets.1.running_mean" in tensors else "group",
        keypoints=keypoints,
        crop=crop,
        separate=True,
    )


def _backbone(tensors: Tensors) -> Backbone:
    if "nets.0.nets.4.0.conv3.weight" in tensors:
        return "resnet50"
    return "resnet34" if "nets.0.nets.4.2.conv1.weight" in tensors else "resnet18"


def _shape(tensors: Tensors, name: str, dimensions: int) -> Sequence[int]:
    if (tensor := tensors.get(name)) is None:
        raise ValueError(f"the tensor {name!r:.120} is missing")
    if len(tensor.shape) != dimensions:
        raise ValueError(f"the tensor {name!r:.120} has {len(tensor.shape)} dimensions, not {dimensions}")
    return tensor.shape

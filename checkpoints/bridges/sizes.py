"""The sizes of Diffusion Policy's and robomimic's networks, from the tensors that they have."""

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
# Their last normalisation has so many groups, whatever n_groups says.
_HEAD_GROUPS = 8
# Of an encoder of images: constants, and its parts under a second name.
_CONSTANTS = (".temperature", ".pos_x", ".pos_y")
_SECOND_NAMES = (".backbone.", ".pool.")


def tensors_of(state: Any, what: str) -> dict[str, SavedTensor]:
    """The tensors of a state dict.

    Raises:
        ValueError: it is none.
    """
    if not isinstance(state, dict) or not state:
        raise ValueError(f"it has no weights of {what}")
    for name, tensor in state.items():
        if not isinstance(name, str) or not isinstance(tensor, SavedTensor):
            raise ValueError(f"{name!r:.120} is no tensor of {what}")
    return state


def below(tensors: Tensors, prefix: str) -> dict[str, SavedTensor]:
    """Those whose names begin so, without that."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


@dataclass(frozen=True)
class Sizes:
    """Of a denoising network.

    Attributes:
        network: its settings.
        actions: length of an action.
        condition: numbers that it sees of an observation: of all steps a U-Net, of one a transformer.
        scales: whether a U-Net's FiLM has scales besides biases.
    """

    network: UnetConfig | TransformerConfig
    actions: int
    condition: int
    scales: bool = True


def unet_sizes(tensors: Tensors, groups: int) -> Sizes:
    """Of a U-Net with global conditions.

    Args:
        tensors: by the names inside it.
        groups: of its normalisation, which tensors do not show.

    Raises:
        ValueError: it is none, or one with local conditions.
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
    """Of a transformer that decodes actions, and attends to the timestep and observations; arguments as of `unet_sizes`.

    Raises:
        ValueError: it is none, or one whose attention or conditions are others.
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
    """Of robomimic's encoder of images, which Diffusion Policy takes, too.

    Args:
        file: where the tensors lie.
        tensors: by the names inside it.
        seen: the observation.
        crop: height and width of the middle that it sees.

    Raises:
        ValueError: it is another encoder; the message says in what.
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
    """Those of an encoder of images that ours has, too."""
    return {
        name: tensor
        for name, tensor in tensors.items()
        if not name.endswith(_CONSTANTS) and not any(second in name for second in _SECOND_NAMES)
    }


def _encoder(tensors: Tensors, key: str, crop: tuple[int, int] | None) -> VisionConfig:
    needed = ("nets.0.nets.0.weight", "nets.1.nets.weight", "nets.1.temperature", "nets.3.weight")
    if any(name not in tensors for name in needed):
        raise ValueError(f"the encoder of {key!r:.80} is no ResNet with a spatial softmax and a linear layer")
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

"""Checkpoints of Diffusion Policy (real-stanford): `.ckpt` files of its workspaces, read without it.

cfg            the configuration of the training, written by OmegaConf
state_dicts    weights of the policy, their average (`ema_model`), and the optimiser's state
pickles        other objects of the workspace; never read
"""

from dataclasses import dataclass
from typing import Any

import torch

from paradp.bridges.configuration import Configuration
from paradp.bridges.outline import Outline, Weights
from paradp.bridges.schedule import read_schedule
from paradp.bridges.sizes import Sizes, below, encoder_tensors, tensors_of, transformer_sizes, unet_sizes, vision_config
from paradp.bridges.torch_file import TorchFile
from paradp.policy.data.normalizer import Normalizer
from paradp.policy.features import Shape
from paradp.policy.files.limits import MOST_KEYS, MOST_VALUES
from paradp.policy.horizons import Horizons
from paradp.policy.networks.vision.config import VisionConfig

_NETWORK, _ENCODER, _SCALING = "model.", "obs_encoder.", "normalizer.params_dict."
# Tensors that we do not need: masks that the transformer computes from its sizes, and a module's dummy variable.
_BUFFERS = ("mask", "memory_mask", "_dummy_variable")
_BRIGHTEST = 255.0

_COMMON = {"_target_", "horizon", "n_obs_steps", "n_action_steps", "num_inference_steps", "noise_scheduler"}
_VECTORS = _COMMON | {"model", "obs_dim", "action_dim", "pred_action_steps_only"}
_IMAGES = _COMMON | {"shape_meta", "crop_shape", "obs_encoder_group_norm", "eval_fixed_crop"}
_UNET = {"diffusion_step_embed_dim", "down_dims", "kernel_size", "n_groups", "cond_predict_scale", "obs_as_global_cond"}
_ATTENTION = {"n_layer", "n_cond_layers", "n_head", "n_emb", "p_drop_emb", "p_drop_attn", "causal_attn", "time_as_cond"}
# The only supported value of each setting, for the policy classes that have it.
_MUST_BE = {"obs_as_global_cond": True, "obs_as_cond": True, "time_as_cond": True}
_MUST_BE |= {"obs_as_local_cond": False, "pred_action_steps_only": False, "oa_step_convention": True}


@dataclass(frozen=True)
class _PolicyClass:
    """A class of policies.

    Attributes:
        attends: its network is a transformer, not a U-Net.
        sees: it has an encoder of images.
        settings: names of the settings in its configuration.
        defaults: values of settings that the configuration may leave out.
    """

    attends: bool
    sees: bool
    settings: set[str]
    defaults: dict[str, bool]


_KINDS = {
    "DiffusionUnetLowdimPolicy": _PolicyClass(
        attends=False,
        sees=False,
        settings=_VECTORS | {"obs_as_global_cond", "obs_as_local_cond", "oa_step_convention"},
        defaults={"obs_as_global_cond": False, "oa_step_convention": False},
    ),
    "DiffusionTransformerLowdimPolicy": _PolicyClass(
        attends=True, sees=False, settings=_VECTORS | {"obs_as_cond"}, defaults={"obs_as_cond": False}
    ),
    "DiffusionUnetHybridImagePolicy": _PolicyClass(attends=False, sees=True, settings=_IMAGES | _UNET, defaults={}),
    "DiffusionTransformerHybridImagePolicy": _PolicyClass(
        attends=True, sees=True, settings=_IMAGES | _ATTENTION | {"obs_as_cond", "pred_action_steps_only"}, defaults={}
    ),
}


def is_diffusion_policy(content: Any) -> bool:
    """Whether a file's content is a checkpoint of one of Diffusion Policy's workspaces."""
    return isinstance(content, dict) and {"cfg", "state_dicts"} <= content.keys()


def diffusion_policy_outline(file: TorchFile) -> Outline:
    """Reads the description of the policy in a checkpoint of Diffusion Policy.

    Raises:
        ValueError: it is a policy of another kind, or has unsupported settings; the message names them.
    """
    return _DiffusionPolicyFile(file).outline()


class _DiffusionPolicyFile:
    """Reads one checkpoint of Diffusion Policy."""

    def __init__(self, file: TorchFile):
        self.file, self.config = file, Configuration(file.content["cfg"])
        target = str(self.config.get("policy._target_")).rsplit(".", 1)[-1]
        if target not in _KINDS:
            raise ValueError(f"it is a {target:.80}; of Diffusion Policy's classes {', '.join(_KINDS)} are read")
        self.kind = _KINDS[target]
        self.config.only("policy", self.kind.settings)
        for name, due in _MUST_BE.items():
            if name in self.kind.settings and self.config.flag(f"policy.{name}", self.kind.defaults.get(name, due)) != due:
                raise ValueError(f"its {name} is {str(not due).lower()}; only {str(due).lower()} is supported")
        self.tensors = tensors_of(self._state(), "a policy")
        self.model = "policy" if self.kind.sees else "policy.model"

    def outline(self) -> Outline:
        network = below(self.tensors, _NETWORK)
        sizes = self._sizes(network)
        seen = self._seen(sizes)
        used = {f"{_NETWORK}{name}": one for name, one in network.items() if name not in _BUFFERS}
        used |= {f"{_ENCODER}{name}": one for name, one in encoder_tensors(below(self.tensors, _ENCODER)).items()}
        settings = self.config.object("policy.noise_scheduler")
        kind = str(settings.pop("_target_", None)).rsplit(".", 1)[-1]
        schedule, sampler = read_schedule(kind, settings, self.config.get("policy.num_inference_steps", None))
        return Outline(
            file=self.file,
            whose="Diffusion Policy",
            seen=seen,
            actions=sizes.actions,
            horizons=Horizons(*(self.config.count(f"policy.{one}") for one in ("n_obs_steps", "horizon", "n_action_steps"))),
            schedule=schedule,
            network=sizes.network,
            vision=self._vision(seen),
            sampler=sampler,
            weights=Weights(used, _NETWORK, _ENCODER, sizes.scales),
            normalizer=lambda key: self._normalizer(key, sizes.actions if key == "action" else seen[key]),
        )

    def _state(self) -> Any:
        """Returns the averaged weights if the training made them, otherwise the last ones, as Diffusion Policy does."""
        states = self.file.content["state_dicts"]
        if not isinstance(states, dict):
            raise ValueError("it has no weights of a policy")
        name = "ema_model" if self.config.flag("training.use_ema", "ema_model" in states) else "model"
        if name not in states:
            raise ValueError(f"it lacks the weights {name!r}, with which Diffusion Policy runs this policy")
        return states[name]

    def _sizes(self, network: dict[str, Any]) -> Sizes:
        if self.kind.attends:
            return transformer_sizes(network, self.config.count(f"{self.model}.n_head", 4 if self.kind.sees else 12))
        return unet_sizes(network, self.config.count(f"{self.model}.n_groups", 8))

    def _seen(self, sizes: Sizes) -> dict[str, Shape]:
        """Returns the shapes of the observations, in the network's order."""
        if not self.kind.sees:
            steps = 1 if self.kind.attends else self.config.count("policy.n_obs_steps")
            return {"obs": sizes.condition // steps}
        seen = self.config.object("policy.shape_meta").get("obs")
        if not isinstance(seen, dict) or not 0 < len(seen) <= MOST_KEYS:
            raise ValueError("its shape_meta says nothing of observations")
        return {key: self._shape(key, one) for key, one in seen.items()}

    def _shape(self, key: str, said: Any) -> Shape:
        shape, kind = (said.get("shape"), said.get("type", "low_dim")) if isinstance(said, dict) else (None, None)
        if isinstance(shape, list) and all(type(one) is int and one > 0 for one in shape):
            if kind == "low_dim" and len(shape) == 1:
                return int(shape[0])
            if kind == "rgb" and len(shape) == 3:
                return shape[1], shape[2], shape[0]
        raise ValueError(f"its observation {key!r:.80} of type {kind!r:.20} and shape {shape!r:.40} is not supported")

    def _vision(self, seen: dict[str, Shape]) -> VisionConfig | None:
        if not self.kind.sees:
            return None
        if all(isinstance(shape, int) for shape in seen.values()):
            return None
        crop = self.config.get("policy.crop_shape", [76, 76])
        if crop is None:
            return vision_config(self.file, below(self.tensors, _ENCODER), seen, None)
        if not isinstance(crop, list) or len(crop) != 2 or not all(type(one) is int for one in crop):
            raise ValueError(f"its crop_shape must be a height and a width, not {crop!r:.40}")
        if not self.config.flag("policy.eval_fixed_crop", False):
            raise ValueError("its eval_fixed_crop is false: it sees random crops when it plans, which is not supported")
        return vision_config(self.file, below(self.tensors, _ENCODER), seen, (crop[0], crop[1]))

    def _normalizer(self, key: str, shape: Shape) -> Normalizer:
        """Diffusion Policy's formula, `value · scale + offset`; there images have values in [0, 1], here bytes."""
        found = []
        for part in ("scale", "offset"):
            if (saved := self.tensors.get(name := f"{_SCALING}{key}.{part}")) is None:
                raise ValueError(f"{self.file.path} has no {name!r:.120}: the policy was saved without statistics")
            found.append(self.file.values(saved, MOST_VALUES).flatten())
        scale, offset = found
        length = shape if isinstance(shape, int) else shape[2]
        if len(scale) != len(offset) or len(scale) not in ((1, length) if isinstance(shape, int) else (1,)):
            raise ValueError(f"{self.file.path}: the statistics of {key!r:.80} are not of {length} numbers")
        if not (torch.isfinite(torch.stack([scale, 1 / scale, offset])).all() and (scale > 0).all()):
            raise ValueError(f"{self.file.path}: the statistics of {key!r:.80} are not finite, or leave no range")
        unit = 1.0 if isinstance(shape, int) else _BRIGHTEST
        return Normalizer(torch.zeros(length), (unit / scale).expand(length).clone(), offset.expand(length).clone())

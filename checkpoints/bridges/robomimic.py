"""Reads checkpoints of robomimic's diffusion policy, `.pth` files, without robomimic.

model           state dicts: the weights (nets) and their average (ema)
config          its configuration, as JSON text
shape_metadata  shapes of the observations, in the network's order
"""

from collections.abc import Mapping
from typing import Any

import torch

from paradp.bridges.configuration import Configuration
from paradp.bridges.outline import Outline, Weights
from paradp.bridges.schedule import read_schedule
from paradp.bridges.sizes import below, encoder_tensors, tensors_of, unet_sizes, vision_config
from paradp.bridges.torch_file import TorchFile
from paradp.policy.data.normalizer import Normalizer
from paradp.policy.features import Shape
from paradp.policy.files.limits import DOCUMENT_BYTES, MOST_KEYS, MOST_VALUES
from paradp.policy.files.reading import parse_json
from paradp.policy.horizons import Horizons
from paradp.policy.networks.vision.config import VisionConfig

_NETWORK, _ENCODER = "policy.noise_pred_net.", "policy.obs_encoder.nets.obs."
_BRIGHTEST = 255.0
# robomimic builds U-Nets with this many groups and ignores its configuration; forks of it use the configuration.
_GROUPS = 8


def is_robomimic(content: Any) -> bool:
    """Whether a file's content is a checkpoint of robomimic."""
    return isinstance(content, dict) and {"model", "config", "algo_name", "shape_metadata"} <= content.keys()


def robomimic_outline(file: TorchFile) -> Outline:
    """Reads the description of the policy in a checkpoint of robomimic.

    Raises:
        ValueError: it is a policy of another kind, or has unsupported settings; the message names them.
    """
    return _RobomimicFile(file).outline()


class _RobomimicFile:
    """Reads one checkpoint of robomimic."""

    def __init__(self, file: TorchFile):
        self.file, content = file, file.content
        # Everything except the weights, checked to be plain values of limited number.
        self.said = Configuration({name: one for name, one in content.items() if name != "model"})
        if (name := self.said.get("algo_name")) != "diffusion_policy":
            raise ValueError(f"it is a policy of robomimic of type {name!r:.40}; diffusion_policy is read")
        if not isinstance(content["config"], str) or len(content["config"]) > DOCUMENT_BYTES:
            raise ValueError("its config is not JSON text")
        self.config = Configuration(parse_json(content["config"]))
        self.tensors = tensors_of(self._state(content["model"]), "a policy")

    def outline(self) -> Outline:
        groups = self.config.count("algo.unet.n_groups", _GROUPS)
        if groups != _GROUPS:
            raise ValueError(f"its n_groups is {groups}; robomimic's own code takes {_GROUPS} all the same: not supported")
        sizes = unet_sizes(below(self.tensors, _NETWORK), groups)
        seen = self._seen()
        used = {f"{_NETWORK}{name}": one for name, one in below(self.tensors, _NETWORK).items()}
        used |= {f"{_ENCODER}{name}": one for name, one in encoder_tensors(below(self.tensors, _ENCODER)).items()}
        schedule, sampler = self._schedule()
        names = ("observation_horizon", "prediction_horizon", "action_horizon")
        return Outline(
            file=self.file,
            whose="robomimic",
            seen=seen,
            actions=sizes.actions,
            horizons=Horizons(*(self.config.count(f"algo.horizon.{name}") for name in names)),
            schedule=schedule,
            network=sizes.network,
            vision=self._vision(seen),
            sampler=sampler,
            weights=Weights(used, _NETWORK, _ENCODER),
            normalizer=lambda key: self._actions(sizes.actions) if key == "action" else self._normalizer(key, seen[key]),
        )

    def _state(self, model: Any) -> Any:
        if not isinstance(model, dict):
            raise ValueError("it has no weights of a policy")
        if model.get("ema") is not None:
            return model["ema"]
        if self.config.flag("algo.ema.enabled"):
            raise ValueError("it lacks the averaged weights (ema), with which robomimic runs this policy")
        return model.get("nets")

    def _schedule(self) -> tuple[dict[str, Any], str]:
        """Returns the schedule and sampler of the first scheduler that is enabled, as robomimic does."""
        for name, kind in (("ddpm", "DDPMScheduler"), ("ddim", "DDIMScheduler")):
            if self.config.flag(f"algo.{name}.enabled", False):
                settings = self.config.object(f"algo.{name}")
                steps = settings.pop("num_inference_timesteps", None)
                return read_schedule(kind, {key: one for key, one in settings.items() if key != "enabled"}, steps)
        raise ValueError("neither its ddpm nor its ddim is enabled")

    def _seen(self) -> dict[str, Shape]:
        """Returns the shapes of the observations, in the network's order."""
        shapes = self.said.get("shape_metadata.all_shapes", None)
        if not isinstance(shapes, dict) or not 0 < len(shapes) <= MOST_KEYS:
            raise ValueError("its shape_metadata says nothing of observations")
        modalities = self.config.object("observation.modalities.obs")
        kinds = {str(key): kind for kind, keys in modalities.items() if isinstance(keys, list) for key in keys}
        return {key: self._shape(key, kinds[key], shape) for key, shape in shapes.items() if key in kinds}

    def _shape(self, key: str, kind: str, shape: Any) -> Shape:
        if isinstance(shape, list) and all(type(one) is int and one > 0 for one in shape):
            if kind == "low_dim" and len(shape) == 1:
                return int(shape[0])
            if kind == "rgb" and len(shape) == 3:
                return shape[1], shape[2], shape[0]
        raise ValueError(f"its observation {key!r:.80} of type {kind!r:.20} and shape {shape!r:.40} is not supported")

    def _vision(self, seen: dict[str, Shape]) -> VisionConfig | None:
        images = [shape for shape in seen.values() if not isinstance(shape, int)]
        if not images:
            return None
        crop, randomizer = None, self.config.get("observation.encoder.rgb.obs_randomizer_class", None)
        if randomizer is not None:
            if randomizer != "CropRandomizer":
                raise ValueError(f"its obs_randomizer_class is {randomizer!r:.40}, which is not supported")
            settings = "observation.encoder.rgb.obs_randomizer_kwargs"
            if self.config.flag(f"{settings}.pos_enc", False):
                raise ValueError("its CropRandomizer adds channels (pos_enc), which is not supported")
            crop = (self.config.count(f"{settings}.crop_height"), self.config.count(f"{settings}.crop_width"))
            # Of an odd margin, robomimic removes the smaller half first, and we the even half.
            if any((edge - kept) % 4 == 3 for shape in images for edge, kept in zip(shape, crop, strict=False)):
                raise ValueError(f"its crop of {crop[0]} × {crop[1]} pixels is not where ours would be: not supported")
        return vision_config(self.file, below(self.tensors, _ENCODER), seen, crop)

    def _normalizer(self, key: str, shape: Shape) -> Normalizer:
        """robomimic's formula, `(value − offset) / scale`, if the file has statistics; images are scaled to [0, 1]."""
        length = shape if isinstance(shape, int) else shape[2]
        every = self.said.get("obs_normalization_stats", None)
        if every is None:
            return Normalizer(torch.zeros(length), torch.full((length,), 1.0 if isinstance(shape, int) else _BRIGHTEST))
        if not isinstance(shape, int):
            raise ValueError(f"{self.file.path}: its statistics (hdf5_normalize_obs) of images are not supported")
        return self._statistics(every, key, length)

    def _actions(self, length: int) -> Normalizer:
        """Returns the normaliser of an action, joined from those of its parts."""
        every = self.said.get("action_normalization_stats", None)
        if every is None:
            return Normalizer(torch.zeros(length), torch.ones(length))
        keys = self.config.get("train.action_keys")
        if not isinstance(keys, list) or len(keys) > MOST_KEYS:
            raise ValueError(f"{self.file.path}: its action_keys are not a list of names")
        parts = [self._statistics(every, key) for key in keys]
        found = Normalizer(torch.cat([one.offset for one in parts]), torch.cat([one.scale for one in parts]))
        if len(found.offset) != length:
            raise ValueError(f"{self.file.path}: the statistics of actions are not of {length} numbers")
        return found

    def _statistics(self, every: Any, key: Any, length: int | None = None) -> Normalizer:
        own = every.get(key) if isinstance(every, Mapping) and isinstance(key, str) else None
        found = [_numbers(own.get(part)) for part in ("offset", "scale")] if isinstance(own, dict) else []
        if len(found) != 2 or any(one is None for one in found):
            raise ValueError(f"{self.file.path} has no statistics of {key!r:.80} (offset and scale)")
        offset, scale = (torch.tensor(one, dtype=torch.float32) for one in found)
        if len(offset) != len(scale) or len(offset) != (length or len(offset)):
            raise ValueError(f"{self.file.path}: the statistics of {key!r:.80} are not of {length} numbers")
        if not (torch.isfinite(offset).all() and torch.isfinite(scale).all() and (scale > 0).all()):
            raise ValueError(f"{self.file.path}: the statistics of {key!r:.80} are not finite, or leave no range")
        return Normalizer(offset, scale)


def _numbers(said: Any) -> list[float] | None:
    """Returns the numbers of a list that is nested as `[[…]]`; `None` if it is not."""
    row = said[0] if isinstance(said, list) and len(said) == 1 and isinstance(said[0], list) else None
    numbers = row is not None and 0 < len(row) <= MOST_VALUES and all(type(one) in (int, float) for one in row)
    return row if numbers else None

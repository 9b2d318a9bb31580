"""Writes policies of paradp as LeRobot's diffusion policy: the files of its `save_pretrained`, without LeRobot."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import yaml

from paradp.bridges.facts import FILE
from paradp.bridges.lerobot_config import ACTION, STATE, STEM, LeRobotConfig, LeRobotFeature
from paradp.bridges.lerobot_names import their_name
from paradp.bridges.lerobot_statistics import AFTER, BEFORE
from paradp.bridges.to_lerobot_statistics import Scaled, scaled
from paradp.policy.data.normalizer import Normalizer
from paradp.policy.files.tensor_writing import write_tensors
from paradp.policy.files.writing import naming_file
from paradp.policy.learning.lesson import TrainedPolicy
from paradp.policy.networks.unet_config import UnetConfig
from paradp.policy.spec import PolicySpec
from paradp.sampler import SamplerChoice

ENVIRONMENT, IMAGES = "observation.environment_state", "observation.images."
# For each of LeRobot's keys: the names and lengths of our quantities in a vector, or an image's name.
Keys = Mapping[str, str | dict[str, int]]

_HEAD_GROUPS = 8
# Settings of a schedule that LeRobot stores, with diffusers' defaults, and settings that LeRobot leaves at these values.
_SCHEDULE = {
    "num_train_timesteps": 1000,
    "beta_start": 0.0001,
    "beta_end": 0.02,
    "beta_schedule": "linear",
    "clip_sample": True,
    "clip_sample_range": 1.0,
    "prediction_type": "epsilon",
}
_LEFT = {
    "variance_type": "fixed_small",
    "trained_betas": None,
    "thresholding": False,
    "timestep_spacing": "leading",
    "steps_offset": 0,
    "rescale_betas_zero_snr": False,
}
# Further fields that LeRobot writes; those of the training at its defaults.
_BESIDES: dict[str, Any] = {
    "device": "cpu",
    "use_amp": False,
    "push_to_hub": False,
    "pretrained_path": None,
    "crop_is_random": True,
    "pretrained_backbone_weights": None,
    "gradient_checkpointing": False,
    "compile_model": False,
    "do_mask_loss_for_padding": False,
}


def write_lerobot(
    trained: TrainedPolicy, folder: Path, card: str, sampler: str = "ddpm", observation: Keys | None = None
) -> None:
    """Writes a policy into an empty folder as LeRobot 0.6 does, with the facts that its files lack in `paradp.yaml`.

    Args:
        trained: network and normalisers.
        folder: the empty folder.
        card: the model card, markdown.
        sampler: the sampler for LeRobot itself: `ddpm`, `ddpm-N:spacing=leading` or `ddim-N`.
        observation: the content of each of LeRobot's keys, as in `Facts`; by default the first quantity is the robot's
            state, and the vectors after it the environment's.

    Raises:
        ValueError: LeRobot's policy cannot represent this one; the message names the reason.
        OSError: it cannot be written.
    """
    spec = trained.spec
    keys = _check_keys(spec, observation) if observation else _own_keys(spec)
    config, sides = _described(trained, keys, sampler)
    weights = {their_name(name, config): tensor for name, tensor in trained.network.state_dict().items()}
    floats = {name: tensor.float() for name, tensor in weights.items() if tensor.is_floating_point()}
    write_tensors(folder / "model.safetensors", weights | floats)
    content = {"type": "diffusion"} | asdict(config) | _BESIDES
    content["drop_n_last_frames"] = config.horizon - config.n_action_steps - config.n_obs_steps + 1
    _write(folder / "config.json", json.dumps(content, indent=4))
    for name, side in zip((BEFORE, AFTER), sides, strict=True):
        features = config.input_features | config.output_features if name == BEFORE else config.output_features
        _write_processor(folder, name, config, side, {key: asdict(one) for key, one in features.items()})
    _write(folder / FILE, yaml.safe_dump(_facts(spec, keys), sort_keys=False, width=120))
    _write(folder / "README.md", card)


def _described(trained: TrainedPolicy, keys: Keys, sampler: str) -> tuple[LeRobotConfig, tuple[Scaled, Scaled]]:
    spec = trained.spec
    seen = {key: _feature(spec, key, parts) for key, parts in keys.items()}
    done = {ACTION: LeRobotFeature("ACTION", (spec.action_size,))}
    every = cast("list[Normalizer]", list(trained.observation_normalizer.parts))
    parts = dict(zip(spec.observed, every, strict=True))
    inside = {key: [parts[name] for name in _names(said)] for key, said in keys.items()}
    before, after = scaled(seen, inside), scaled(done, {ACTION: [trained.action_normalizer]}, inverse=True)
    # LeRobot's training also normalises actions.
    before = before.with_more(scaled(done, {ACTION: [trained.action_normalizer]}))
    kind, steps = _sampled(sampler)
    config = LeRobotConfig(
        n_obs_steps=spec.horizons.observe,
        horizon=spec.horizons.predict,
        n_action_steps=spec.horizons.execute,
        input_features=seen,
        output_features=done,
        normalization_mapping=dict(before.modes),
        **_network(spec),
        **_vision(spec),
        **_schedule(spec),
        noise_scheduler_type=kind,  # type: ignore[arg-type]
        num_inference_steps=steps,
    )
    return config, (before, after)


def _network(spec: PolicySpec) -> dict[str, Any]:
    unet = spec.network
    if not isinstance(unet, UnetConfig):
        raise ValueError(f"LeRobot's diffusion policy has a U-Net; this one has a {unet.describe()}")
    if (groups := unet.head_groups or unet.groups) != _HEAD_GROUPS:
        raise ValueError(f"the last normalisation of LeRobot's U-Net has {_HEAD_GROUPS} groups; this one's {groups}")
    if spec.horizons.predict % (factor := 2 ** len(unet.channels)):
        said = f"a U-Net with {len(unet.channels)} levels needs a horizon divisible by {factor} in LeRobot"
        raise ValueError(f"{said}; this one's is {spec.horizons.predict}")
    return {
        "down_dims": unet.channels,
        "kernel_size": unet.kernel_size,
        "n_groups": unet.groups,
        "diffusion_step_embed_dim": unet.timestep_embedding,
        "use_film_scale_modulation": True,
    }


def _vision(spec: PolicySpec) -> dict[str, Any]:
    images = {key: one.shape for key, one in spec.observed.items() if one.kind == "image"}
    vision = spec.vision
    if images and vision is None:
        raise ValueError(f"LeRobot's diffusion policy encodes images; this one sees {', '.join(images)} as plain numbers")
    if len(set(images.values())) > 1:
        raise ValueError(f"cameras of LeRobot's diffusion policy have images of one size; these have {images}")
    if vision is None:
        return {
            "vision_backbone": "resnet18",
            "use_group_norm": True,
            "crop_shape": None,
            "spatial_softmax_num_keypoints": 32,
            "use_separate_rgb_encoder_per_camera": True,
        }
    if vision.stem != STEM:
        raise ValueError(
            f"LeRobot's ResNets begin with {STEM} channels, this policy's with {vision.stem}: train it with --stem {STEM}"
        )
    ratio = 1.0 if vision.resize is None or vision.crop is None else _ratio(vision.resize, vision.crop)
    return {
        "vision_backbone": vision.backbone,
        "use_group_norm": vision.norm == "group",
        "crop_shape": vision.crop,
        "crop_ratio": ratio,
        "resize_shape": vision.resize,
        "spatial_softmax_num_keypoints": vision.keypoints,
        "use_separate_rgb_encoder_per_camera": vision.separate,
    }


def _ratio(size: tuple[int, int], crop: tuple[int, int]) -> float:
    """The share of resized images that a crop keeps; LeRobot has one number for height and width."""
    pairs = list(zip(crop, size, strict=True))
    least, below = max(kept / edge for kept, edge in pairs), min(1.0, *((kept + 1) / edge for kept, edge in pairs))
    ratio = (least + below) / 2
    if [int(edge * ratio) for edge in size] != list(crop):
        raise ValueError(f"LeRobot keeps one share of height and width; a crop of {crop} from {size} is none")
    return ratio


def _schedule(spec: PolicySpec) -> dict[str, Any]:
    if spec.process != "diffusion":
        raise ValueError(f"LeRobot's diffusion policy samples by diffusion; this one is of the kind {spec.process!r}")
    said = {name: value for name, value in spec.schedule.items() if not name.startswith("_")}
    for name, value in said.items():
        if name in _LEFT and value != _LEFT[name]:
            raise ValueError(f"LeRobot's diffusion policy has no {name} {value!r:.40}")
    schedule = {name: said.get(name, default) for name, default in _SCHEDULE.items()}
    if schedule["prediction_type"] not in ("epsilon", "sample"):
        predicts = schedule["prediction_type"]
        raise ValueError(f"LeRobot's diffusion policy predicts the noise (epsilon) or the sample; this one {predicts}")
    return schedule


def _sampled(sampler: str) -> tuple[str, int | None]:
    """Returns LeRobot's scheduler and its number of steps."""
    choice = SamplerChoice.parse(sampler)
    spacing = {"spacing": "leading"} if choice.family == "ddpm" and choice.steps else {}
    if choice.family not in ("ddpm", "ddim") or dict(choice.options) != spacing:
        raise ValueError(f"LeRobot samples by ddpm, ddpm-N:spacing=leading or ddim-N; not by {sampler}")
    return choice.family.upper(), choice.steps


def _own_keys(spec: PolicySpec) -> dict[str, str | dict[str, int]]:
    """Returns LeRobot's keys for a policy's observations, in the order of its network."""
    kinds = {name: one.kind for name, one in spec.observed.items()}
    images = [name for name, kind in kinds.items() if kind == "image"]
    vectors = [name for name in kinds if name not in images]
    first = list(kinds).index(images[0]) if images else 1
    state, environment = [name for name in list(kinds)[:first] if name in vectors], vectors[first:]
    found: dict[str, str | dict[str, int]] = {STATE: {name: spec.observed[name].size for name in state}}
    found |= {name if name.startswith("observation.") else f"{IMAGES}{name}": name for name in images}
    if environment:
        found[ENVIRONMENT] = {name: spec.observed[name].size for name in environment}
    return _check_keys(spec, found)


def _check_keys(spec: PolicySpec, keys: Keys) -> dict[str, str | dict[str, int]]:
    """Sorts the keys in the order of LeRobot's network, which must be the order of ours.

    Raises:
        ValueError: the orders differ, or LeRobot's policy has no such input.
    """
    images = [key for key, said in keys.items() if _is_image(spec, said)]
    vectors = [key for key in keys if key not in images and key != STATE]
    if not keys.get(STATE) or not (images or vectors):
        raise ValueError(
            f"LeRobot's diffusion policy sees {STATE} and besides it images or {ENVIRONMENT}; this one sees, in this order,"
            f" {', '.join(spec.observed)}"
        )
    ordered = {key: keys[key] for key in (STATE, *images, *vectors)}
    names = [name for said in ordered.values() for name in _names(said)]
    if len(vectors) > 1 or names != list(spec.observed):
        raise ValueError(
            f"LeRobot's network sees {STATE}, then images, then {ENVIRONMENT}: that would be {', '.join(names)}; this one"
            f" sees {', '.join(spec.observed)}"
        )
    return ordered


def _is_image(spec: PolicySpec, said: str | dict[str, int]) -> bool:
    return isinstance(said, str) and said in spec.observed and spec.observed[said].kind == "image"


def _names(said: str | dict[str, int]) -> list[str]:
    return [said] if isinstance(said, str) else list(said)


def _feature(spec: PolicySpec, key: str, said: str | dict[str, int]) -> LeRobotFeature:
    if _is_image(spec, said):
        height, width, channels = spec.observed[_names(said)[0]].shape
        return LeRobotFeature("VISUAL", (channels, height, width))
    return LeRobotFeature("STATE" if key == STATE else "ENV", (sum(spec.observed[name].size for name in _names(said)),))


def _facts(spec: PolicySpec, keys: Keys) -> dict[str, Any]:
    """Returns the facts that LeRobot's files lack, for `paradp.yaml`."""
    facts = {
        "task": spec.task,
        "control_hz": spec.control_hz,
        "action_low": list(spec.action_low),
        "action_high": list(spec.action_high),
        "action_convention": spec.action_convention,
        "controller": spec.controller,
        "observation": {key: said if isinstance(said, str) else dict(said) for key, said in keys.items()},
        "action": spec.action,
    }
    return facts if spec.action_step is None else facts | {"action_step": list(spec.action_step)}


def _write_processor(folder: Path, name: str, config: LeRobotConfig, side: Scaled, features: Mapping[str, Any]) -> None:
    kind, number = ("normalizer_processor", 3) if name == BEFORE else ("unnormalizer_processor", 0)
    state = f"{name.removesuffix('.json')}_step_{number}_{kind}.safetensors"
    settings = {"eps": 1e-8, "features": features, "norm_map": config.normalization_mapping}
    scaling = {"registry_name": kind, "config": settings, "state_file": state}
    device = {"registry_name": "device_processor", "config": {"device": "cpu", "float_dtype": None}}
    before = [
        {"registry_name": "rename_observations_processor", "config": {"rename_map": {}}},
        {"registry_name": "to_batch_processor", "config": {}},
        device,
        scaling,
    ]
    steps = before if name == BEFORE else [scaling, device]
    write_tensors(folder / state, side.statistics)
    _write(folder / name, json.dumps({"name": name.removesuffix(".json"), "steps": steps}, indent=2))


def _write(path: Path, text: str) -> None:
    with naming_file(path):
        path.write_text(text)

"""`config.json` of LeRobot's diffusion policy: all fields that affect its samples."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError, with_config

from paradp.policy.files.limits import DOCUMENT_BYTES, MOST_KEYS
from paradp.policy.files.reading import first_problem, read_object

STATE, ACTION = "observation.state", "action"
# Channels of the first convolution of its ResNets, which come from torchvision.
STEM = 64
# The type of the same policies when they use our plugin, `lerobot_policy_paradp`.
PLUGIN = "paradp"
Mode = Literal["IDENTITY", "MEAN_STD", "MIN_MAX", "QUANTILES", "QUANTILE10"]
Kind = Literal["STATE", "VISUAL", "ENV", "ACTION", "REWARD", "LANGUAGE"]
Count = Annotated[int, Field(ge=1, strict=True)]
Pair = tuple[Count, Count]

# Fields of the training or of its hardware, which do not affect samples.
_OF_NO_MATTER = {
    *("crop_is_random", "pretrained_backbone_weights", "gradient_checkpointing", "compile_model", "compile_mode"),
    *("do_mask_loss_for_padding", "drop_n_last_frames", "device", "use_amp", "push_to_hub", "repo_id", "private", "tags"),
    *("license", "pretrained_path", "pretrained_revision"),
}
_OF_TRAINING = ("optimizer_", "scheduler_")


@with_config(ConfigDict(extra="forbid"))
@dataclass(frozen=True)
class LeRobotFeature:
    """Type and shape of one input or output; the shape of an image is channels, height, width."""

    type: Kind
    shape: Annotated[tuple[Count, ...], Field(min_length=1, max_length=3)]


Features = Annotated[dict[str, LeRobotFeature], Field(max_length=MOST_KEYS)]


@with_config(ConfigDict(extra="forbid"))
@dataclass(frozen=True)
class LeRobotConfig:
    """The fields of LeRobot's `DiffusionConfig`, by its names. No defaults, because LeRobot's changed between versions."""

    n_obs_steps: Count
    horizon: Count
    n_action_steps: Count
    input_features: Features
    output_features: Features
    normalization_mapping: dict[str, Mode]
    vision_backbone: str
    crop_shape: Pair | None
    use_group_norm: bool
    spatial_softmax_num_keypoints: Count
    use_separate_rgb_encoder_per_camera: bool
    down_dims: tuple[Count, ...]
    kernel_size: Count
    n_groups: Count
    diffusion_step_embed_dim: Count
    use_film_scale_modulation: bool
    noise_scheduler_type: Literal["DDPM", "DDIM"]
    num_train_timesteps: Count
    beta_schedule: str
    beta_start: float
    beta_end: float
    prediction_type: Literal["epsilon", "sample", "v_prediction"]
    clip_sample: bool
    clip_sample_range: float
    num_inference_steps: Count | None
    # Fields that earlier versions lack.
    resize_shape: Pair | None = None
    crop_ratio: Annotated[float, Field(gt=0, le=1)] = 1.0
    use_peft: Literal[False] = False

    def __post_init__(self) -> None:
        if STATE not in self.input_features:
            raise ValueError(f"input_features lacks {STATE}, which every diffusion policy of LeRobot observes")
        if list(self.output_features) != [ACTION] or len(self.action.shape) != 1:
            raise ValueError(f"output_features must be {ACTION} alone, a vector; they are {', '.join(self.output_features)}")
        for key, feature in self.seen.items():
            if len(feature.shape) != (3 if feature.type == "VISUAL" else 1):
                raise ValueError(f"{key} cannot be of type {feature.type} and shape {list(feature.shape)}")

    @property
    def seen(self) -> dict[str, LeRobotFeature]:
        """Keys of the observed features in the network's order: the state, the cameras, the environment's state."""
        kinds = {key: feature.type for key, feature in self.input_features.items()}
        cameras = [key for key, kind in kinds.items() if kind == "VISUAL"]
        environment = [key for key, kind in kinds.items() if kind == "ENV"][:1]
        return {key: self.input_features[key] for key in (STATE, *cameras, *environment)}

    @property
    def action(self) -> LeRobotFeature:
        """The action, the only output."""
        return self.output_features[ACTION]

    @property
    def crop(self) -> tuple[int, int] | None:
        """Height and width of the crop; of resized images it is a share of their size, regardless of `crop_shape`."""
        if self.resize_shape is None:
            return self.crop_shape
        height, width = self.resize_shape
        return None if self.crop_ratio == 1 else (int(height * self.crop_ratio), int(width * self.crop_ratio))

    @property
    def schedule(self) -> dict[str, Any]:
        """A config of diffusers' `DDPMScheduler`, with which LeRobot trains, regardless of its sampler."""
        names = ("num_train_timesteps", "beta_start", "beta_end", "beta_schedule", "clip_sample", "clip_sample_range")
        own = {name: getattr(self, name) for name in (*names, "prediction_type")}
        return {"_class_name": "DDPMScheduler", "variance_type": "fixed_small", **own}

    @property
    def sampler(self) -> str:
        """The sampler that LeRobot itself uses for the policy."""
        kind, all_steps = self.noise_scheduler_type.lower(), self.num_train_timesteps
        steps = self.num_inference_steps or all_steps
        if kind == "ddpm":
            return kind if steps == all_steps else f"ddpm-{steps}:spacing=leading"
        return f"{kind}-{steps}"


_CONFIG = TypeAdapter(LeRobotConfig)


def read_config(folder: Path) -> LeRobotConfig:
    """Reads the `config.json` of a diffusion policy.

    Raises:
        ValueError: it is of another kind of policy, or a field is missing, unknown or not supported; the message names it.
        OSError: it is missing or cannot be read.
    """
    path = folder / "config.json"
    content = read_object(path, DOCUMENT_BYTES)
    if "input_shapes" in content:
        raise ValueError(f"{path} was written before 2025, with input_shapes, which LeRobot itself no longer reads")
    kind = content.pop("type", None)
    if kind == PLUGIN:
        content.pop("sampler", None)  # the setting of our plugin for LeRobot
    elif kind != "diffusion":
        raise ValueError(f"{folder} is a policy of LeRobot of type {kind!r:.40}; of LeRobot's, diffusion policies are read")
    own = {k: v for k, v in content.items() if k not in _OF_NO_MATTER and not k.startswith(_OF_TRAINING)}
    try:
        return _CONFIG.validate_python(own)
    except ValidationError as error:
        raise ValueError(f"{path} cannot be read: {first_problem(error)}") from error

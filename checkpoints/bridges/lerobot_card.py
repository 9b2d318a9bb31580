"""Writes a model card for a LeRobot checkpoint, which lacks one in paradp's form."""

from pathlib import Path

from paradp.bridges.facts import FILE
from paradp.bridges.lerobot_config import LeRobotConfig, LeRobotFeature, read_config


def lerobot_card(folder: Path) -> str:
    """Writes the card as markdown; works without the facts that LeRobot's files lack.

    Raises:
        ValueError, OSError: as `read_config`.
    """
    config = read_config(folder)
    rows = {
        "observation": ", ".join(f"{key} {_size(feature)}" for key, feature in config.seen.items()),
        "action": f"{config.action.shape[0]} numbers",
        "horizons": f"observes {config.n_obs_steps}, predicts {config.horizon}, executes {config.n_action_steps}",
        "network": f"1-D U-Net, channels {'-'.join(map(str, config.down_dims))}",
        "images": _images(config),
        "noise schedule": f"{config.beta_schedule}, {config.num_train_timesteps} steps, {config.prediction_type}",
        "LeRobot's own sampler": config.sampler,
    }
    table = "\n".join(f"| {name} | {value} |" for name, value in rows.items())
    return f"""# {folder.name}: diffusion policy of LeRobot

| | |
| --- | --- |
{table}

Information that a robot also needs is read from `{FILE}` in the same folder: task, control rate, limits of actions, and the
robot's names of the observations.
"""


def _size(feature: LeRobotFeature) -> str:
    if feature.type == "VISUAL":
        _, height, width = feature.shape
        return f"{height} × {width} pixels"
    return str(feature.shape[0])


def _images(config: LeRobotConfig) -> str:
    if not any(feature.type == "VISUAL" for feature in config.seen.values()):
        return "none"
    scaled = [] if config.resize_shape is None else [f"resized to {config.resize_shape[0]} × {config.resize_shape[1]}"]
    scaled += [] if config.crop is None else [f"cropped to {config.crop[0]} × {config.crop[1]}"]
    whose = "one for each camera" if config.use_separate_rgb_encoder_per_camera else "one for all cameras"
    norm = "group" if config.use_group_norm else "batch"
    return ", ".join([f"{config.vision_backbone} with {norm} normalisation, {whose}", *scaled])

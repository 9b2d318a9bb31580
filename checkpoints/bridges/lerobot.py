"""Reads checkpoints of LeRobot's diffusion policy as they are, without LeRobot and without executing code from them.

config.json                       the policy's settings
model.safetensors                 its weights; up to LeRobot 0.3 also the statistics
policy_preprocessor.json          normalisation of observations, with a safetensors file of statistics
policy_postprocessor.json         denormalisation of actions, likewise
paradp.yaml                       facts that LeRobot's files lack, see `paradp.bridges.facts`
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from paradp.bridges.facts import AS_RECORDED, FILE, Facts, read_facts
from paradp.bridges.lerobot_config import STEM, LeRobotConfig, LeRobotFeature, read_config
from paradp.bridges.lerobot_names import fill, their_shapes
from paradp.bridges.lerobot_statistics import IN_MODEL, Scales, Side, read_scales
from paradp.bridges.naming import observed_as, parts_of
from paradp.policy.data.normalizer import Normalizer, ObservationNormalizer
from paradp.policy.features import Shape
from paradp.policy.files.limits import WEIGHTS_BYTES
from paradp.policy.files.tensors import TensorFile
from paradp.policy.horizons import Horizons
from paradp.policy.learning.lesson import TrainedPolicy
from paradp.policy.networks.building import build_network, shapes_of
from paradp.policy.networks.unet_config import UnetConfig
from paradp.policy.networks.vision.config import VisionConfig
from paradp.policy.spec import PolicySpec

WEIGHTS = "model.safetensors"
# LeRobot's last normalisation always has this many groups, regardless of n_groups.
_HEAD_GROUPS = 8


def read_lerobot(path: Path | str, facts: Mapping[str, Any] | None = None) -> TrainedPolicy:
    """Reads network and normalisers of a checkpoint that LeRobot's `save_pretrained` wrote.

    Args:
        path: the folder.
        facts: facts that the checkpoint lacks, see `Facts`; those not given are read from its `paradp.yaml`.

    Raises:
        ValueError: a fact is missing, or the checkpoint is damaged, of another kind of policy, or has unsupported settings;
            the message names the reason.
        OSError: a file is missing or cannot be read.
    """
    folder = Path(path)
    config, weights = read_config(folder), TensorFile.open(folder / WEIGHTS, WEIGHTS_BYTES)
    scales = read_scales(folder, config, weights)
    spec = _spec(folder, config, scales, read_facts(folder, facts))
    try:
        # The declared sizes are compared with the file before any memory is allocated for them.
        _check_shapes(weights, their_shapes(shapes_of(spec), config, weights))
        network = build_network(spec)
        fill(network.state_dict(), config, weights)
    except ValueError as error:
        raise ValueError(f"{weights.path} does not fit its config.json: {error}") from error
    return TrainedPolicy(spec, network.eval(), *_normalizers(config, scales, spec))


def read_lerobot_spec(path: Path | str, facts: Mapping[str, Any] | None = None) -> PolicySpec:
    """Reads a policy's specification, without its weights; arguments and errors as for `read_lerobot`."""
    folder = Path(path)
    config = read_config(folder)
    scales = read_scales(folder, config, TensorFile.open(folder / WEIGHTS, WEIGHTS_BYTES))
    return _spec(folder, config, scales, read_facts(folder, facts))


def lerobot_files(folder: Path) -> list[Path]:
    """Lists the files that a policy is read from, without its weights, in a fixed order."""
    found = [folder / "config.json", folder / FILE, *sorted(folder.glob("policy_*"))]
    return [path for path in found if path.exists()]


def _spec(folder: Path, config: LeRobotConfig, scales: Scales, facts: Facts) -> PolicySpec:
    facts.needed(folder, config.action.shape[0])
    # For the type checker: `needed` has checked it.
    assert facts.task is not None and facts.control_hz is not None
    assert facts.action_low is not None and facts.action_high is not None
    try:
        return PolicySpec(
            task=facts.task,
            observation=_observed(config, scales.before, facts),
            action=parts_of("action", config.action.shape[0], facts.action or {"action": config.action.shape[0]}),
            action_low=facts.action_low,
            action_high=facts.action_high,
            action_convention=facts.action_convention or AS_RECORDED,
            control_hz=facts.control_hz,
            horizons=Horizons(config.n_obs_steps, config.horizon, config.n_action_steps),
            action_step=facts.action_step,
            controller=facts.controller or {},
            schedule=config.schedule,
            network=_network(config),
            vision=_vision(config),
        )
    except ValueError as error:
        raise ValueError(f"{folder} cannot be used: {error}") from error


def _network(config: LeRobotConfig) -> UnetConfig:
    return UnetConfig(
        channels=config.down_dims,
        kernel_size=config.kernel_size,
        groups=config.n_groups,
        head_groups=None if config.n_groups == _HEAD_GROUPS else _HEAD_GROUPS,
        timestep_embedding=config.diffusion_step_embed_dim,
    )


def _vision(config: LeRobotConfig) -> VisionConfig | None:
    if not any(feature.type == "VISUAL" for feature in config.seen.values()):
        return None
    return VisionConfig(
        backbone=config.vision_backbone,  # type: ignore[arg-type]  # the class refuses unknown names
        stem=STEM,
        norm="group" if config.use_group_norm else "batch",
        keypoints=config.spatial_softmax_num_keypoints,
        resize=config.resize_shape,
        crop=config.crop,
        separate=config.use_separate_rgb_encoder_per_camera,
    )


def _observed(config: LeRobotConfig, side: Side, facts: Facts) -> dict[str, Shape]:
    """Returns the observed features in the network's order, by the names that they have before LeRobot's renaming."""
    comes_from = {ours: key for key, ours in (side.renamed or {}).items()}
    seen = {comes_from.get(key, key): _shape(feature) for key, feature in config.seen.items()}
    return observed_as(seen, facts.observation or {})


def _shape(feature: LeRobotFeature) -> Shape:
    if feature.type != "VISUAL":
        return feature.shape[0]
    channels, height, width = feature.shape
    return height, width, channels


def _normalizers(config: LeRobotConfig, scales: Scales, spec: PolicySpec) -> tuple[ObservationNormalizer, Normalizer]:
    # One vector of LeRobot's may be several observations here: join the statistics, and split them at our parts.
    every = [scales.before.normalizer(key, feature) for key, feature in config.seen.items()]
    side_by_side = ObservationNormalizer({str(i): one for i, one in enumerate(every)})
    observation = ObservationNormalizer.of(spec.observed, side_by_side.offset, side_by_side.scale, side_by_side.shift)
    return observation, scales.after.normalizer("action", config.action, inverse=True)


def _check_shapes(weights: TensorFile, expected: Mapping[str, tuple[int, ...]]) -> None:
    held = {name: weights.tensors[name].shape for name in weights.tensors if name.startswith(IN_MODEL)}
    weights.check_shapes({**expected, **held})

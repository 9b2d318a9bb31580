"""Makes the fixtures in this folder with LeRobot's own code: checkpoints and their outputs.

    pip install "lerobot[diffusion]==0.6.1"      # Python 3.12, an environment of its own
    python tests/data/lerobot/make.py

and for `before_processors`, whose statistics are in the model, the same with lerobot 0.3.3. Of every checkpoint there is:

config.json, policy_*            as `save_pretrained` wrote them
model.safetensors                likewise, but for the ResNets, whose weights are a formula (`tests/lerobot_weights.py`)
backbone.json                    names and shapes of those
reference.safetensors            observations, noise, and LeRobot's condition, samples and actions
"""

import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import diffusers.schedulers.scheduling_ddpm as ddpm
import lerobot
import numpy as np
import torch
from lerobot.configs.types import FeatureType, NormalizationMode, PolicyFeature
from lerobot.policies.diffusion.configuration_diffusion import DiffusionConfig
from lerobot.policies.diffusion.modeling_diffusion import DiffusionPolicy
from safetensors.torch import load_file, save_file

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parents[1]))
from lerobot_weights import LEFT_OUT, is_backbone, weights  # noqa: E402

BEFORE_PROCESSORS = lerobot.__version__.startswith("0.3")
BATCH, STEPS = 2, 100
SMALL = dict(down_dims=(16, 24), diffusion_step_embed_dim=16, horizon=16, n_action_steps=8, n_obs_steps=2)
SEEING = SMALL | dict(spatial_softmax_num_keypoints=4, pretrained_backbone_weights=None)
MIN_MAX = dict(VISUAL="MEAN_STD", STATE="MIN_MAX", ENV="MIN_MAX", ACTION="MIN_MAX")
MODES = {mode.value: mode for mode in NormalizationMode}


@dataclass
class Case:
    """One checkpoint.

    Attributes:
        settings: of LeRobot's `DiffusionConfig`, all that matter to sampling.
        cameras: height and width, of every one.
        environment: length of the environment's state; 0 without.
        modes: normalisation by type of feature.
        prediction: what LeRobot's configuration refuses to be given, but computes.
    """

    settings: dict[str, Any]
    cameras: tuple[tuple[int, int], ...] = ()
    environment: int = 4
    modes: dict[str, str] = field(default_factory=lambda: dict(MIN_MAX))
    prediction: str | None = None


CASES = {
    # The second dimension of state and of action is constant in all data.
    "min_max": Case(SMALL),
    "v_prediction": Case(
        SMALL | dict(horizon=64, n_action_steps=32, down_dims=(16, 16, 24), beta_schedule="linear", beta_end=0.05),
        modes=dict.fromkeys(("STATE", "ENV", "ACTION"), "MEAN_STD"),
        prediction="v_prediction",
    ),
    "bias_film": Case(
        SMALL
        | dict(use_film_scale_modulation=False, n_groups=4, kernel_size=3, n_obs_steps=1, clip_sample_range=1.5)
        | dict(prediction_type="sample", noise_scheduler_type="DDIM", num_inference_steps=10),
        modes=dict(STATE="QUANTILES", ENV="QUANTILE10", ACTION="QUANTILES"),
    ),
    "shared_encoder": Case(
        SEEING | dict(use_group_norm=True, use_separate_rgb_encoder_per_camera=False, crop_shape=(57, 60)),
        cameras=((64, 72), (64, 72)),
        environment=0,
    ),
    "each_camera": Case(
        SEEING
        | dict(use_group_norm=False, use_separate_rgb_encoder_per_camera=True)
        | dict(resize_shape=(48, 56), crop_ratio=0.9),
        cameras=((64, 72), (64, 72)),
        environment=0,
    ),
    "resnet34": Case(
        SEEING | dict(vision_backbone="resnet34", use_group_norm=True, use_separate_rgb_encoder_per_camera=True),
        cameras=((49, 66),),
        modes=dict(VISUAL="MIN_MAX", STATE="MIN_MAX", ENV="MEAN_STD", ACTION="MIN_MAX"),
    ),
    "resnet50": Case(
        SEEING
        | dict(vision_backbone="resnet50", use_group_norm=False, use_separate_rgb_encoder_per_camera=False)
        | dict(resize_shape=(64, 50)),
        cameras=((80, 64),),
        environment=0,
        modes=dict(VISUAL="IDENTITY", STATE="IDENTITY", ACTION="MIN_MAX"),
    ),
}
OLD_CASES = {
    "before_processors": Case(
        SEEING | dict(use_group_norm=True, use_separate_rgb_encoder_per_camera=False, crop_shape=(48, 56)),
        cameras=((56, 64),),
        modes=dict(VISUAL="MEAN_STD", STATE="MIN_MAX", ENV="MEAN_STD", ACTION="MIN_MAX"),
    )
}


def features(case: Case) -> tuple[dict[str, PolicyFeature], dict[str, PolicyFeature]]:
    """Those of observations, in an order that is not the network's, and of actions."""
    seen = {f"observation.images.camera{i}": PolicyFeature(FeatureType.VISUAL, (3, *c)) for i, c in enumerate(case.cameras)}
    if case.environment:
        seen["observation.environment_state"] = PolicyFeature(FeatureType.ENV, (case.environment,))
    seen["observation.state"] = PolicyFeature(FeatureType.STATE, (3,))
    return seen, {"action": PolicyFeature(FeatureType.ACTION, (3,))}


def statistics(key: str, feature: PolicyFeature, rng: np.random.RandomState) -> dict[str, np.ndarray]:
    """Of made-up data."""
    if feature.type is FeatureType.VISUAL:
        data, shape = rng.uniform(0.1, 0.8, (500, 3)), (3, 1, 1)
    else:
        data, shape = rng.uniform(-3, 40, (500, *feature.shape)), feature.shape
        if key in ("observation.state", "action"):
            data[:, 1] = 7.3
    found = dict(min=data.min(0), max=data.max(0), mean=data.mean(0), std=data.std(0))
    found |= {f"q{q:02}": np.quantile(data, q / 100, 0) for q in (1, 10, 50, 90, 99)}
    numbers = {name: values.reshape(shape).astype(np.float32) for name, values in found.items()}
    return numbers if BEFORE_PROCESSORS else numbers | {"count": np.array([500])}


def make(name: str, case: Case) -> None:
    """Writes one fixture."""
    torch.manual_seed(0)
    rng = np.random.RandomState(1)
    inputs, outputs = features(case)
    config = DiffusionConfig(
        input_features=inputs,
        output_features=outputs,
        normalization_mapping={kind: MODES[mode] for kind, mode in case.modes.items()},
        device="cpu",
        push_to_hub=False,
        **case.settings,
    )
    if case.prediction is not None:
        config.prediction_type = case.prediction
    stats = {key: statistics(key, feature, rng) for key, feature in (inputs | outputs).items()}
    tensors = {key: {n: torch.from_numpy(v) for n, v in one.items()} for key, one in stats.items()}
    policy = DiffusionPolicy(config, dataset_stats=tensors) if BEFORE_PROCESSORS else DiffusionPolicy(config)
    policy.eval()
    with torch.no_grad():
        for key, tensor in policy.state_dict().items():
            if is_backbone(key):
                tensor.copy_(torch.from_numpy(weights(key, tensor.shape)))
    folder = HERE / name
    folder.mkdir(exist_ok=True)
    policy.save_pretrained(folder)
    processors = None
    if not BEFORE_PROCESSORS:
        from lerobot.policies.factory import make_pre_post_processors

        processors = make_pre_post_processors(config, dataset_stats=stats)
        for one in processors:
            one.save_pretrained(folder)
    save_file(reference(policy, inputs, processors, rng), str(folder / "reference.safetensors"))
    leave_out(folder)
    for extra in ("README.md",):
        (folder / extra).unlink(missing_ok=True)


def leave_out(folder: Path) -> None:
    """Takes the ResNets out of `model.safetensors`."""
    stored = load_file(folder / "model.safetensors")
    backbone = {name: list(tensor.shape) for name, tensor in stored.items() if is_backbone(name)}
    if backbone:
        save_file({n: t for n, t in stored.items() if n not in backbone}, folder / "model.safetensors")
        (folder / LEFT_OUT).write_text(json.dumps(backbone, indent=0) + "\n")


class Tape:
    """Noise that was drawn beforehand, step by step, in the place of a function that draws."""

    def __init__(self, steps: torch.Tensor):
        self.left = list(steps.unbind(1))

    def __call__(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        return self.left.pop(0)


def observation(inputs: dict[str, PolicyFeature], rng: np.random.RandomState) -> dict[str, torch.Tensor]:
    """Of one step, images as cameras have them: bytes, channels last."""
    seen = {}
    for key, feature in inputs.items():
        if feature.type is FeatureType.VISUAL:
            _, height, width = feature.shape
            seen[key] = torch.from_numpy(rng.randint(0, 256, (BATCH, height, width, 3)).astype(np.uint8))
        else:
            seen[key] = torch.from_numpy(rng.uniform(-3, 40, (BATCH, *feature.shape)).astype(np.float32))
            if key == "observation.state":
                seen[key][:, 1] = 7.3
    return seen


def as_lerobot(seen: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """As LeRobot's `preprocess_observation` has it: floats, channels first."""
    return {k: v.permute(0, 3, 1, 2).contiguous().float() / 255 if v.dtype == torch.uint8 else v for k, v in seen.items()}


@torch.no_grad()
def reference(policy: Any, inputs: Any, processors: Any, rng: np.random.RandomState) -> dict[str, torch.Tensor]:
    """What LeRobot makes of two observations and noise."""
    config, model = policy.config, policy.diffusion
    seen = [observation(inputs, rng) for _ in range(config.n_obs_steps)]
    shape = (config.horizon, config.action_feature.shape[0])
    initial = torch.from_numpy(rng.standard_normal((BATCH, *shape)).astype(np.float32))
    steps = torch.from_numpy(rng.standard_normal((BATCH, STEPS, *shape)).astype(np.float32))
    before, after = processors or (lambda seen: seen, lambda action: action)
    sample, kept = model.conditional_sample, {}

    def spy(batch: int, global_cond: torch.Tensor | None = None, **others: Any) -> torch.Tensor:
        kept["condition"] = global_cond
        drawn, torch.randn, ddpm.randn_tensor = (torch.randn, ddpm.randn_tensor), lambda *a, **k: initial, Tape(steps)
        try:
            kept["own"] = sample(batch, global_cond=global_cond)
        finally:
            torch.randn, ddpm.randn_tensor = drawn
        return kept["own"]

    model.conditional_sample = spy
    policy.reset()
    for one in seen:
        # A queue of actions that is empty at every step: each observation is planned from.
        policy._queues["action"].clear()
        first = policy.select_action(before(as_lerobot(one)))
    chunk = torch.stack([first, *policy._queues["action"]], 1)
    found = kept | {"actions": after(chunk), "initial": initial, "steps": steps}
    for kind in ("DDPM", "DDIM"):
        for count in (STEPS, 10):
            model.noise_scheduler = scheduler(config, kind)
            model.num_inference_steps = count
            spy(BATCH, kept["condition"])
            found[f"{kind.lower()}-{count}"] = kept["own"]
    found |= {f"seen{i}.{key}": values for i, one in enumerate(seen) for key, values in one.items()}
    return {name: tensor.contiguous().clone() for name, tensor in found.items()}


def scheduler(config: DiffusionConfig, kind: str) -> Any:
    """As LeRobot makes it."""
    from lerobot.policies.diffusion.modeling_diffusion import _make_noise_scheduler

    names = ("num_train_timesteps", "beta_start", "beta_end", "beta_schedule", "clip_sample", "clip_sample_range")
    return _make_noise_scheduler(kind, **{n: getattr(config, n) for n in (*names, "prediction_type")})


if __name__ == "__main__":
    torch.set_num_threads(1)
    for name, case in (OLD_CASES if BEFORE_PROCESSORS else CASES).items():
        make(name, case)
        print(name, sum(path.stat().st_size for path in (HERE / name).iterdir()), "bytes")

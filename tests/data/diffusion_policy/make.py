"""Makes the fixtures in this folder with Diffusion Policy's and robomimic's own code: checkpoints and their outputs.

An environment of its own, with Python 3.12 and torch 2.11:

    pip install torch torchvision diffusers dill hydra-core omegaconf einops h5py six matplotlib psutil tqdm termcolor \\
        tensorboardX imageio "zarr<3" "numcodecs<0.16"
    pip install --no-deps robomimic==0.2.0          # whose encoder of images Diffusion Policy takes
    git clone https://github.com/real-stanford/diffusion_policy        # 5ba07ac
    git clone https://github.com/ARISE-Initiative/robomimic            # d309eae, version 0.5
    PYTHONPATH=diffusion_policy python tests/data/diffusion_policy/make.py diffusion_policy
    PYTHONPATH=robomimic python tests/data/diffusion_policy/make.py robomimic

For robomimic also `pip install --no-deps --target old diffusers==0.11.1`, of which it takes the class `EMAModel`. Of every
checkpoint there is:

checkpoint.ckpt, checkpoint.pth  as `save_checkpoint` or `save_model` wrote it, but for the encoders' weights
left_out.json                    member of that file → name and shape of a weight by formula (tests/lerobot_weights.py)
reference.safetensors            observations, noise, and the policy's own condition, samples and actions
"""

import copy
import json
import sys
import zipfile
from pathlib import Path
from typing import Any

import diffusers.schedulers.scheduling_ddpm as ddpm
import numpy as np
import torch
from diffusers import DDIMScheduler, DDPMScheduler
from safetensors.torch import save_file

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parents[1]))
from lerobot_weights import weights  # noqa: E402

BATCH, STEPS = 2, 100
DDPM = dict(num_train_timesteps=100, beta_start=0.0001, beta_end=0.02, beta_schedule="squaredcos_cap_v2", clip_sample=True)
DDPM |= dict(_target_="diffusers.schedulers.scheduling_ddpm.DDPMScheduler", variance_type="fixed_small")
DDPM |= dict(prediction_type="epsilon")
DDIM = {key: value for key, value in DDPM.items() if key != "variance_type"} | dict(set_alpha_to_one=True, steps_offset=0)
DDIM |= dict(_target_="diffusers.schedulers.scheduling_ddim.DDIMScheduler")
LENGTHS = {"obs": 5, "action": 3, "eef_pos": 3, "gripper": 1, "camera": (3, 40, 44), "wrist": (3, 40, 44)}


def data(key: str, rng: np.random.RandomState, count: int) -> np.ndarray:
    """Made-up observations or actions: images as bytes, channels last; the second number of some is constant."""
    if isinstance(shape := LENGTHS[key], tuple):
        return rng.randint(0, 256, (count, *shape[1:], shape[0])).astype(np.uint8)
    values = rng.uniform(-3, 40, (count, shape)).astype(np.float32)
    if key in ("obs", "action"):
        values[:, 1] = 7.3
    return values


def as_theirs(values: np.ndarray) -> torch.Tensor:
    """Images as floats, channels first."""
    found = torch.from_numpy(values)
    return found.movedim(-1, -3).contiguous().float() / 255 if found.dtype == torch.uint8 else found


def set_weights(model: torch.nn.Module) -> None:
    """Gives an encoder of images the weights that are a formula, to be left out of the file; and calms a U-Net."""
    with torch.no_grad():
        for key, tensor in model.state_dict().items():
            if is_formula(key):
                tensor.copy_(torch.from_numpy(weights(key, tensor.shape)))
            elif "final_conv.1." in key:
                # Random weights as they are drawn make of rounding, in a hundred steps, as much as of noise.
                tensor.mul_(0.05)


def is_formula(key: str) -> bool:
    """Whether a weight is of an encoder, and no constant in it."""
    return "obs_encoder." in key and not key.endswith(("temperature", "pos_x", "pos_y", "_dummy_variable"))


def leave_out(source: Path, target: Path, states: list[dict[str, torch.Tensor]]) -> None:
    """Takes the encoders' weights out of a file: some members are then not there."""
    formula = {}
    for state in states:
        for key, tensor in state.items():
            if is_formula(key):
                name = json.dumps([key, list(tensor.shape)])
                formula[tensor.contiguous().numpy().tobytes()] = name
    left = {}
    with zipfile.ZipFile(source) as whole, zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as rest:
        for member in whole.infolist():
            content = whole.read(member)
            if "/data/" in member.filename and len(content) > 8 and content in formula:
                left[member.filename] = json.loads(formula[content])
            elif len(content) == 8 and "/data/" in member.filename and content == np.array(7, np.int64).tobytes():
                left[member.filename] = ["num_batches_tracked", []]
            else:
                rest.writestr(member.filename, content)
    if left:
        (target.parent / "left_out.json").write_text(json.dumps(left, indent=0) + "\n")
    else:
        target.write_bytes(source.read_bytes())


class Tape:
    """Noise that was drawn beforehand, step by step, in the place of a function that draws."""

    def __init__(self, initial: torch.Tensor, steps: torch.Tensor):
        self.initial, self.steps = initial, steps

    def __enter__(self) -> None:
        left = list(self.steps.unbind(1))
        self.drawn = torch.randn, ddpm.randn_tensor
        torch.randn = lambda *a, **k: self.initial.clone()
        ddpm.randn_tensor = lambda *a, **k: left.pop(0)

    def __exit__(self, *error: Any) -> None:
        torch.randn, ddpm.randn_tensor = self.drawn


def noise(rng: np.random.RandomState, horizon: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Where a chunk begins, and what is added in each step."""
    shape = (horizon, LENGTHS["action"])
    initial = rng.standard_normal((BATCH, *shape)).astype(np.float32)
    return torch.from_numpy(initial), torch.from_numpy(rng.standard_normal((BATCH, STEPS, *shape)).astype(np.float32))


def schedulers(settings: dict[str, Any]) -> Any:
    """Name of a sampler → diffusers' scheduler of its kind, and how many steps."""
    own = {key: value for key, value in settings.items() if key not in ("_target_", "variance_type")}
    for kind, cls in (("ddpm", DDPMScheduler), ("ddim", DDIMScheduler)):
        only = {"set_alpha_to_one", "steps_offset"} if kind == "ddpm" else set()
        for count in (STEPS, 10):
            yield f"{kind}-{count}", cls(**{key: value for key, value in own.items() if key not in only}), count


# --- Diffusion Policy ---


def unet(**sizes: Any) -> dict[str, Any]:
    """A small U-Net."""
    return dict(diffusion_step_embed_dim=16, down_dims=[8, 16], kernel_size=5, n_groups=8, cond_predict_scale=True) | sizes


def configuration(policy: dict[str, Any], **changes: Any) -> Any:
    """One of Diffusion Policy's own shape, with interpolations that its `train.py` resolves before it begins."""
    from omegaconf import OmegaConf

    general = dict(horizon=16, n_obs_steps=2, n_action_steps=8, n_latency_steps=0, obs_as_global_cond=True, obs_as_cond=True)
    general |= dict(task=dict(name="made_up", obs_dim=LENGTHS["obs"], action_dim=LENGTHS["action"]))
    general |= dict(training=dict(device="cpu", use_ema=True, seed=42))
    general |= dict(optimizer=dict(_target_="torch.optim.AdamW", lr=1.0e-4))
    shared = dict(horizon="${horizon}", n_obs_steps="${n_obs_steps}", num_inference_steps=100)
    shared |= dict(n_action_steps="${eval:'${n_action_steps}+${n_latency_steps}'}")
    return OmegaConf.create(general | changes | dict(policy=shared | policy))


def low_dim(kind: str, **settings: Any) -> dict[str, Any]:
    """The policy of a configuration, for vectors."""
    name = f"diffusion_policy.policy.diffusion_{kind}_lowdim_policy.Diffusion{kind.title()}LowdimPolicy"
    sizes = dict(obs_dim="${task.obs_dim}", action_dim="${task.action_dim}", noise_scheduler=DDPM)
    return dict(_target_=name) | sizes | settings


def hybrid(kind: str, cameras: list[str], **settings: Any) -> dict[str, Any]:
    """The policy of a configuration, for images and vectors."""
    name = f"diffusion_policy.policy.diffusion_{kind}_hybrid_image_policy.Diffusion{kind.title()}HybridImagePolicy"
    seen = {cameras[0]: dict(shape=LENGTHS[cameras[0]], type="rgb"), "gripper": dict(shape=[1])}
    seen |= {"eef_pos": dict(shape=[3])} | {key: dict(shape=LENGTHS[key], type="rgb") for key in cameras[1:]}
    shape_meta = dict(obs=seen, action=dict(shape=[LENGTHS["action"]]))
    return dict(_target_=name, shape_meta=shape_meta, noise_scheduler=DDPM, eval_fixed_crop=True) | settings


UNET = "diffusion_policy.model.diffusion.conditional_unet1d.ConditionalUnet1D"
TRANSFORMER = "diffusion_policy.model.diffusion.transformer_for_diffusion.TransformerForDiffusion"
CONDITIONED = dict(input_dim=3, global_cond_dim=10, local_cond_dim=None)
ATTENDING = dict(n_layer=2, n_head=2, n_emb=16, p_drop_emb=0.0, p_drop_attn=0.3, causal_attn=True, n_cond_layers=0)
CASES = {
    "unet": configuration(
        low_dim("unet", model=dict(_target_=UNET) | CONDITIONED | unet(), obs_as_global_cond=True, oa_step_convention=True)
    ),
    # Not resolved, as with other workspaces than its own; biases alone in FiLM, other sizes, DDIM.
    "unet_ddim": configuration(
        low_dim(
            "unet",
            model=dict(_target_=UNET) | CONDITIONED | unet(down_dims=[8, 8, 16], kernel_size=3, cond_predict_scale=False),
            noise_scheduler=DDIM | dict(prediction_type="sample"),
            num_inference_steps=10,
            obs_as_global_cond="${obs_as_global_cond}",
            oa_step_convention=True,
        ),
        n_action_steps=6,
        n_latency_steps=1,
    ),
    "transformer": configuration(
        low_dim(
            "transformer",
            model=dict(_target_=TRANSFORMER, input_dim=3, output_dim=3, horizon=10, n_obs_steps=3, cond_dim=5)
            | dict(time_as_cond=True, obs_as_cond=True)
            | ATTENDING,
            obs_as_cond=True,
        ),
        horizon=10,
        n_obs_steps=3,
        n_action_steps=4,
    ),
    "hybrid": configuration(
        hybrid("unet", ["camera"], crop_shape=[36, 38], obs_encoder_group_norm=True, obs_as_global_cond=True) | unet(),
        training=dict(device="cpu", use_ema=False),
    ),
    "hybrid_batch_norm": configuration(
        hybrid("unet", ["wrist", "camera"], crop_shape=None, obs_encoder_group_norm=False, obs_as_global_cond=True)
        | unet(down_dims=[8, 8]),
        n_obs_steps=1,
        training=dict(device="cpu", use_ema=False),
    ),
    "hybrid_transformer": configuration(
        hybrid("transformer", ["camera"], crop_shape=[36, 38], obs_encoder_group_norm=True)
        | dict(time_as_cond=True, obs_as_cond=True)
        | ATTENDING,
        training=dict(device="cpu", use_ema=False),
    ),
}
UNRESOLVED = ("unet_ddim",)


# Long: its steps share one policy, from the configuration to the files.
def make(name: str, cfg: Any) -> None:
    """Writes one fixture of Diffusion Policy's."""
    import hydra
    from diffusion_policy.common.normalize_util import get_image_range_normalizer
    from diffusion_policy.model.common.normalizer import LinearNormalizer, SingleFieldLinearNormalizer
    from diffusion_policy.workspace.base_workspace import BaseWorkspace
    from omegaconf import OmegaConf

    OmegaConf.register_new_resolver("eval", eval, replace=True)
    resolved = copy.deepcopy(cfg)
    OmegaConf.resolve(resolved)
    rng = np.random.RandomState(1)

    class Workspace(BaseWorkspace):
        include_keys = ("global_step", "epoch")

        def __init__(self) -> None:
            super().__init__(cfg if name in UNRESOLVED else resolved, output_dir="outputs")
            torch.manual_seed(0)
            self.model = hydra.utils.instantiate(resolved.policy)
            set_weights(self.model)
            self.model.set_normalizer(normalizer())
            if resolved.training.use_ema:
                torch.manual_seed(1)
                self.ema_model = hydra.utils.instantiate(resolved.policy)
                set_weights(self.ema_model)
                self.ema_model.set_normalizer(normalizer())
            self.optimizer = hydra.utils.instantiate(resolved.optimizer, params=self.model.parameters())
            self.global_step, self.epoch = 3, 1

    def normalizer() -> Any:
        found = LinearNormalizer()
        keys = list(resolved.policy.shape_meta.obs) if "hybrid" in name else ["obs"]
        for key in [*keys, "action"]:
            values = data(key, np.random.RandomState(5), 200)
            if values.dtype == np.uint8:
                found[key] = get_image_range_normalizer()
            else:
                mode = "gaussian" if name == "unet_ddim" else "limits"
                found[key] = SingleFieldLinearNormalizer.create_fit(values, mode=mode, last_n_dims=1)
        return found

    workspace = Workspace()
    policy = (workspace.ema_model if resolved.training.use_ema else workspace.model).eval()
    folder = HERE / name
    folder.mkdir(exist_ok=True)
    whole = Path("whole.ckpt")
    workspace.save_checkpoint(path=whole, use_thread=False)
    leave_out(whole, folder / "checkpoint.ckpt", [workspace.model.state_dict()])
    keys = list(resolved.policy.shape_meta.obs) if "hybrid" in name else ["obs"]
    seen = {f"seen{i}.{key}": data(key, rng, BATCH) for i in range(resolved.n_obs_steps) for key in keys}
    stacked = {key: torch.stack([as_theirs(seen[f"seen{i}.{key}"]) for i in range(resolved.n_obs_steps)], 1) for key in keys}
    initial, steps = noise(rng, resolved.horizon)
    sample, kept = policy.conditional_sample, {}

    def spy(data: Any, mask: Any, **given: Any) -> torch.Tensor:
        kept["given"] = {key: value for key, value in given.items() if key in ("global_cond", "cond")}
        kept["data"], kept["mask"] = data, mask
        return sample(data, mask, **given)

    policy.conditional_sample = spy
    with torch.no_grad():
        with Tape(initial, steps):
            own = policy.predict_action(stacked)
        found = {"actions": own["action"], "initial": initial, "steps": steps}
        found["condition"] = next(iter(kept["given"].values())).flatten(1)
        for key, scheduler, count in schedulers(OmegaConf.to_container(resolved.policy.noise_scheduler)):
            policy.noise_scheduler, policy.num_inference_steps = scheduler, count
            with Tape(initial, steps):
                found[key] = sample(kept["data"], kept["mask"], **kept["given"])
    found |= {key: torch.from_numpy(values) for key, values in seen.items()}
    save_file({key: tensor.contiguous().clone() for key, tensor in found.items()}, str(folder / "reference.safetensors"))


# --- robomimic ---

# Cameras, crop, and whether statistics scale observations and actions.
ROBOMIMIC: dict[str, tuple[list[str], tuple[int, int] | None, bool]] = {
    "robomimic": ([], None, True),
    "robomimic_image": (["camera"], (36, 38), False),
}


def robomimic_config(cameras: list[str], crop: tuple[int, int] | None, scaled: bool) -> Any:
    """One of robomimic's own."""
    from robomimic.config import config_factory

    config = config_factory("diffusion_policy")
    with config.unlocked():
        config.observation.modalities.obs.low_dim = ["eef_pos", "gripper"]
        config.observation.modalities.obs.rgb = cameras
        config.train.hdf5_normalize_obs = scaled
        # As its training does.
        config.algo.optim_params.policy.num_train_batches = config.algo.optim_params.policy.num_epochs = 10
        camera = config.observation.encoder.rgb
        camera.core_kwargs.feature_dimension = 16
        camera.core_kwargs.backbone_class = "ResNet18Conv"
        camera.core_kwargs.pool_class = "SpatialSoftmax"
        camera.core_kwargs.pool_kwargs.num_kp = 8
        if crop is not None:
            camera.obs_randomizer_class = "CropRandomizer"
            camera.obs_randomizer_kwargs.crop_height, camera.obs_randomizer_kwargs.crop_width = crop
            camera.obs_randomizer_kwargs.num_crops = 1
            camera.obs_randomizer_kwargs.pos_enc = False
    return config


# Long: as `make`.
def make_robomimic(name: str, cameras: list[str], crop: tuple[int, int] | None, scaled: bool) -> None:
    """Writes one fixture of robomimic's."""
    from collections import OrderedDict
    from functools import partial
    from importlib.util import module_from_spec, spec_from_file_location

    import robomimic.algo.diffusion_policy as theirs
    import robomimic.utils.obs_utils as obs_utils
    from robomimic.algo import RolloutPolicy, algo_factory
    from robomimic.utils.train_utils import save_model

    config = robomimic_config(cameras, crop, scaled)
    obs_utils.initialize_obs_utils_with_config(config)
    # The file alone: the package does not import with this Python.
    file = spec_from_file_location("training_utils", "old/diffusers/training_utils.py")
    utils = module_from_spec(file)
    file.loader.exec_module(utils)
    theirs.EMAModel = utils.EMAModel
    # Its sizes are fixed in the code, whatever the configuration says; with these the file has 70 million weights less.
    small = partial(theirs.DPNets.ConditionalUnet1D, down_dims=[8, 16], diffusion_step_embed_dim=16)
    real, theirs.DPNets.ConditionalUnet1D = theirs.DPNets.ConditionalUnet1D, small
    keys = sorted([*cameras, "eef_pos", "gripper"])
    shapes = OrderedDict((k, list(LENGTHS[k]) if isinstance(LENGTHS[k], tuple) else [LENGTHS[k]]) for k in keys)
    torch.manual_seed(0)
    algo = algo_factory("diffusion_policy", config, obs_key_shapes=shapes, ac_dim=3, device="cpu")
    theirs.DPNets.ConditionalUnet1D = real
    averaged = algo.ema.averaged_model
    with torch.no_grad():
        for tensor in averaged.parameters():
            tensor.mul_(1.1)
    for net in (algo.nets, averaged):
        set_weights(net)
    rng = np.random.RandomState(1)
    stats = {key: statistics(rng, LENGTHS[key]) for key in keys} if scaled else None
    done = {"actions": statistics(rng, 3)} if scaled else None
    meta = dict(ac_dim=3, all_shapes=shapes, all_obs_keys=keys, use_images=bool(cameras), use_depths=False)
    env = dict(env_name="Made", type=1, env_kwargs=dict(control_freq=20))
    folder = HERE / name
    folder.mkdir(exist_ok=True)
    save_model(algo, config, env, meta, "whole.pth", dict(epoch=3), stats, done)
    leave_out(Path("whole.pth"), folder / "checkpoint.pth", [averaged.state_dict()])
    algo.set_eval()
    policy = RolloutPolicy(algo, stats, done)
    initial, steps = noise(rng, 16)
    seen = {f"seen{i}.{key}": data(key, rng, BATCH) for i in range(2) for key in keys}
    stacked = {key: np.stack([seen[f"seen{i}.{key}"] for i in range(2)], 1) for key in keys}
    net, kept = averaged["policy"]["noise_pred_net"], {}
    net.register_forward_pre_hook(lambda _, args, given: kept.update(given), with_kwargs=True)
    with torch.no_grad():
        policy.start_episode()
        ready = policy._prepare_observation(stacked, batched_ob=True)
        for key, scheduler, count in schedulers(DDPM):
            algo.noise_scheduler = scheduler
            algo.algo_config.unlock()
            algo.algo_config.ddpm.num_inference_timesteps = count
            with Tape(initial, steps):
                kept[key] = algo._get_action_trajectory(obs_dict=dict(ready))
        condition = kept["global_cond"]
        algo.noise_scheduler, algo.algo_config.ddpm.num_inference_timesteps = next(schedulers(DDPM))[1], STEPS
        actions = []
        for robot in range(BATCH):
            policy.start_episode()
            one = slice(robot, robot + 1)
            with Tape(initial[one], steps[one]):
                own = [policy({key: values[one] for key, values in stacked.items()}, batched_ob=True) for _ in range(8)]
            actions.append(np.concatenate(own))
    found = {key: kept[key] for key in ("ddpm-100", "ddpm-10", "ddim-100", "ddim-10")}
    found |= dict(condition=condition, actions=torch.from_numpy(np.stack(actions)), initial=initial, steps=steps)
    found |= {key: torch.from_numpy(values) for key, values in seen.items()}
    save_file({key: tensor.contiguous().clone() for key, tensor in found.items()}, str(folder / "reference.safetensors"))


def statistics(rng: np.random.RandomState, size: Any) -> dict[str, np.ndarray]:
    """As robomimic has them: of a batch."""
    low, high = rng.uniform(-3, 0, (1, size)).astype(np.float32), rng.uniform(20, 40, (1, size)).astype(np.float32)
    return dict(offset=low, scale=high)


if __name__ == "__main__":
    torch.set_num_threads(1)
    if sys.argv[1:] == ["robomimic"]:
        for name, case in ROBOMIMIC.items():
            make_robomimic(name, *case)
    else:
        for name, cfg in CASES.items():
            make(name, cfg)
    for folder in sorted(path for path in HERE.iterdir() if path.is_dir()):
        print(folder.name, sum(path.stat().st_size for path in folder.iterdir()), "bytes", flush=True)

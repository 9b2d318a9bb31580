"""Diffusion Policy's and robomimic's own policies sampled in place, by their own calls. Runs where both are importable.

See `tests/data/diffusion_policy/make.py` for how; with paradp and its dependencies besides, in that environment:

    PYTHONPATH=diffusion_policy python tests/diffusion_policy_in_place.py diffusion_policy
    PYTHONPATH=robomimic python tests/diffusion_policy_in_place.py robomimic
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parent / "data/diffusion_policy")]
import make  # noqa: E402
from diffusers import DDIMScheduler, DDPMScheduler  # noqa: E402

from paradp.bridges import parallelize, sampling_of, undo  # noqa: E402

OWN = {key: value for key, value in make.DDPM.items() if key not in ("_target_", "variance_type")}


def diffusion_policy(name: str) -> tuple[Any, Callable[[int], torch.Tensor]]:
    """A policy of a fixture's configuration, and what samples so many robots with it."""
    import hydra
    from diffusion_policy.common.normalize_util import get_image_range_normalizer
    from diffusion_policy.model.common.normalizer import LinearNormalizer, SingleFieldLinearNormalizer
    from omegaconf import OmegaConf

    OmegaConf.register_new_resolver("eval", eval, replace=True)
    cfg = make.CASES[name]
    OmegaConf.resolve(cfg)
    torch.manual_seed(0)
    policy = hydra.utils.instantiate(cfg.policy).eval()
    keys = list(cfg.policy.shape_meta.obs) if "hybrid" in name else ["obs"]
    normalizer = LinearNormalizer()
    for key in (*keys, "action"):
        values = make.data(key, np.random.RandomState(5), 200)
        image = values.dtype == np.uint8
        normalizer[key] = get_image_range_normalizer() if image else SingleFieldLinearNormalizer.create_fit(values)
    policy.set_normalizer(normalizer)
    seen = {key: make.data(key, np.random.RandomState(1), cfg.n_obs_steps) for key in keys}

    def sample(robots: int) -> torch.Tensor:
        torch.manual_seed(3)
        stacked = {key: make.as_theirs(values)[None].repeat_interleave(robots, 0) for key, values in seen.items()}
        with torch.no_grad():
            return policy.predict_action(stacked)["action"]

    return policy, sample


def robomimic(name: str) -> tuple[Any, Callable[[int], torch.Tensor]]:
    """Likewise; what `get_action` would queue."""
    from collections import OrderedDict
    from functools import partial
    from importlib.util import module_from_spec, spec_from_file_location

    import robomimic.algo.diffusion_policy as theirs
    import robomimic.utils.obs_utils as obs_utils
    from robomimic.algo import RolloutPolicy, algo_factory

    cameras, crop, _ = make.ROBOMIMIC[name]
    config = make.robomimic_config(cameras, crop, scaled=False)
    obs_utils.initialize_obs_utils_with_config(config)
    file = spec_from_file_location("training_utils", "old/diffusers/training_utils.py")
    utils = module_from_spec(file)
    file.loader.exec_module(utils)
    theirs.EMAModel = utils.EMAModel
    theirs.DPNets.ConditionalUnet1D = partial(
        theirs.DPNets.ConditionalUnet1D, down_dims=[8, 16], diffusion_step_embed_dim=16
    )
    keys = sorted([*cameras, "eef_pos", "gripper"])
    lengths = {key: make.LENGTHS[key] for key in keys}
    shapes = OrderedDict((key, list(one) if isinstance(one, tuple) else [one]) for key, one in lengths.items())
    torch.manual_seed(0)
    policy = RolloutPolicy(algo_factory("diffusion_policy", config, obs_key_shapes=shapes, ac_dim=3, device="cpu"))
    policy.start_episode()
    seen = {key: make.data(key, np.random.RandomState(1), 2) for key in keys}

    def sample(robots: int) -> torch.Tensor:
        torch.manual_seed(3)
        ready = policy._prepare_observation({k: np.repeat(v[None], robots, 0) for k, v in seen.items()}, batched_ob=True)
        with torch.no_grad():
            return policy.policy._get_action_trajectory(obs_dict=ready)

    return policy, sample


def set_steps(policy: Any, kind: Any, steps: int) -> None:
    """Another scheduler of theirs."""
    inner = getattr(policy, "policy", policy)
    inner.noise_scheduler = kind(**OWN)
    if hasattr(inner, "algo_config"):
        inner.algo_config.unlock()
        inner.algo_config.ddpm.num_inference_timesteps = steps
    else:
        inner.num_inference_steps = steps


def check(name: str, policy: Any, sample: Callable[[int], torch.Tensor]) -> None:
    """Of many robots that see the same, means and spreads are theirs, for steps with and without noise."""
    for kind, steps, samplers in (
        (DDIMScheduler, 10, ("ddim-10", "para-ddim-10:tolerance=0", "auto")),
        (DDPMScheduler, 100, ("para-ddpm", "auto")),
    ):
        set_steps(policy, kind, steps)
        own = sample(200)
        error = 6 * own.std(0) * (2 / 200) ** 0.5 + 1e-6
        for sampler in samplers:
            assert parallelize(policy, sampler) is policy
            found = sample(200)
            assert found.shape == own.shape and found.dtype == own.dtype
            assert ((found.mean(0) - own.mean(0)).abs() < error).all(), (name, sampler)
            assert ((found.std(0) / own.std(0) - 1).abs() < 0.35).all(), (name, sampler)
            rounds = sampling_of(policy).stats.rounds
            print(name, sampler, "rounds", int(rounds.min()), "to", int(rounds.max()), "instead of", steps, flush=True)
            if sampler != "auto":  # which may change its mind
                assert torch.equal(sample(2), sample(2))
        undo(policy)
        assert torch.equal(sample(200), own)


if __name__ == "__main__":
    torch.set_num_threads(1)
    robots = sys.argv[1:] == ["robomimic"]
    for name in make.ROBOMIMIC if robots else ("unet", "transformer", "hybrid", "hybrid_transformer"):
        check(name, *(robomimic if robots else diffusion_policy)(name))
    print("as their own")

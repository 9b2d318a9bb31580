"""The plugin in LeRobot's calls and commands. Runs where LeRobot, gym-pusht, paradp and the plugin are installed.

python tests/lerobot_plugin.py FOLDER            # prints "the plugin works" at its end

Makes a small diffusion policy of LeRobot's for PushT with random weights in FOLDER, and runs it as it is and by the plugin.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
from lerobot.configs.types import FeatureType, PolicyFeature
from lerobot.policies.diffusion.configuration_diffusion import DiffusionConfig
from lerobot.policies.diffusion.modeling_diffusion import DiffusionPolicy
from lerobot.policies.factory import get_policy_class, make_policy_config, make_pre_post_processors
from lerobot.rollout.inference.rtc import supports_rtc_inference
from lerobot.utils.import_utils import register_third_party_plugins

from paradp.bridges import sampling_of

SIZES = dict(down_dims=(16, 24), diffusion_step_embed_dim=16, horizon=16, n_action_steps=8, n_obs_steps=2)
SEEN = {
    "observation.state": PolicyFeature(FeatureType.STATE, (2,)),
    "observation.environment_state": PolicyFeature(FeatureType.ENV, (16,)),
}
SEEN_BY_CAMERA = {
    "observation.state": PolicyFeature(FeatureType.STATE, (2,)),
    "observation.image": PolicyFeature(FeatureType.VISUAL, (3, 48, 48)),
}
CAMERA = dict(spatial_softmax_num_keypoints=4, pretrained_backbone_weights=None, use_group_norm=True)
EVALUATION = ("--env.type=pusht", "--env.obs_type=environment_state_agent_pos", "--env.episode_length=40", "--seed=7")


def saved(folder: Path, camera: bool = False, **settings: Any) -> DiffusionPolicy:
    """A policy for PushT as LeRobot saves it."""
    torch.manual_seed(0)
    settings |= CAMERA if camera else {}
    action = {"action": PolicyFeature(FeatureType.ACTION, (2,))}
    config = DiffusionConfig(
        input_features=SEEN_BY_CAMERA if camera else SEEN,
        output_features=action,
        device="cpu",
        push_to_hub=False,
        **(SIZES | settings),
    )
    policy = DiffusionPolicy(config).eval()
    policy.save_pretrained(folder)
    sizes = {"observation.state": 2, "observation.environment_state": 16, "action": 2}
    stats = {key: {"min": torch.zeros(size), "max": torch.full((size,), 512.0)} for key, size in sizes.items()}
    for processor in make_pre_post_processors(config, dataset_stats=stats):
        processor.save_pretrained(folder)
    return policy


def observation(seed: int, rows: int = 1, camera: bool = False) -> dict[str, torch.Tensor]:
    generator, seen = torch.Generator().manual_seed(seed), SEEN_BY_CAMERA if camera else SEEN
    return {key: 2 * torch.rand(rows, *one.shape, generator=generator) - 1 for key, one in seen.items()}


def check_the_same_actions(folder: Path, camera: bool) -> None:
    """With steps that draw no noise, and the same starting noise: those of LeRobot; saved and loaded again, too."""
    theirs = saved(folder, camera, noise_scheduler_type="DDIM", num_inference_steps=10)
    ours = get_policy_class("paradp").from_pretrained(folder)
    assert ours.config.horizon == 16 and ours.config.down_dims == (16, 24)  # the checkpoint's, not the defaults
    ours.config.sampler = "para-ddim-10:tolerance=0"
    ours.save_pretrained(folder / "again")
    assert json.loads((folder / "again/config.json").read_text())["type"] == "paradp"
    again = get_policy_class("paradp").from_pretrained(folder / "again")
    assert again.config.sampler == "para-ddim-10:tolerance=0"
    for policy in (theirs, ours, again):
        policy.reset()
    for step in range(10):
        seen, noise = observation(step, 1, camera), torch.randn(1, 16, 2, generator=torch.Generator().manual_seed(step))
        wanted = theirs.select_action(dict(seen), noise=noise)
        for policy in (ours, again):
            assert (policy.select_action(dict(seen), noise=noise) - wanted).abs().max() < 1e-5
    assert sampling_of(again).stats is not None
    again.reset()
    chunk = again.predict_action_chunk(observation(0, 2, camera), inference_delay=1, prev_chunk_left_over=None)
    assert chunk.shape == (2, 15, 2)


def check_other_policies_are_refused(folder: Path) -> None:
    config = make_policy_config("act", device="cpu", input_features=SEEN)
    folder.mkdir()
    config._save_pretrained(folder)
    try:
        get_policy_class("paradp").from_pretrained(folder)
    except ValueError as error:
        assert "a policy of type 'act'" in str(error)
    else:
        raise AssertionError("a policy of another type was taken")


def check_real_time_chunking(folder: Path) -> None:
    """As LeRobot's engine calls it: the actions that are under way stay, and the next ones go on from them."""
    saved(folder)
    for sampler in ("ddpm", "auto", "para-ddpm", "ddim-10"):
        policy = get_policy_class("paradp").from_pretrained(folder, config=make_policy_config("paradp", sampler=sampler))
        assert supports_rtc_inference(policy)
        first = policy.predict_action_chunk(observation(0, 2), inference_delay=0, prev_chunk_left_over=None)
        assert first.shape == (2, 15, 2)
        left = first[:, 6:]  # nine actions
        filled = torch.cat([left, torch.zeros(2, 1, 2)], 1)  # as LeRobot fills them up
        chunks = [
            policy.predict_action_chunk(observation(1, 2), inference_delay=4, prev_chunk_left_over=one)
            for one in (left, filled)
        ]
        for chunk in chunks:
            assert chunk.shape == (2, 15, 2)
            assert torch.equal(chunk[:, :4], left[:, :4]), sampler
            assert (chunk[:, 9:] != 0).all() and (chunk[:, 8] - left[:, 8]).abs().max() > 1e-3
        free = policy.predict_action_chunk(observation(1, 2))
        assert free.shape == (2, 8, 2) and (free[:, :4] - left[:, :4]).abs().max() > 1e-3
        one = policy.predict_action_chunk(observation(1), inference_delay=2, prev_chunk_left_over=left[0])
        assert torch.equal(one[0, :2], left[0, :2])


def evaluated(folder: Path, out: Path, *arguments: str) -> dict[str, Any]:
    """What `lerobot-eval` reports of two episodes."""
    command = [Path(sys.executable).with_name("lerobot-eval"), *arguments, *EVALUATION]
    settings = (
        "--eval.n_episodes=2",
        "--eval.batch_size=2",
        "--eval.use_async_envs=false",
        "--policy.device=cpu",
        f"--output_dir={out}",
    )
    done = subprocess.run([*map(str, command), *settings], capture_output=True, text=True, cwd=folder)
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads((out / "eval_info.json").read_text())["overall"]
    print(arguments, {key: found[key] for key in ("pc_success", "avg_max_reward", "n_episodes")}, flush=True)
    return found


def check_evaluation(folder: Path) -> None:
    """As it is, by `--policy.type`, and by the type in `config.json`."""
    saved(folder / "theirs")
    config = folder / "theirs/config.json"
    evaluated(folder, folder / "own", f"--policy.path={folder / 'theirs'}")
    by_type = (f"--policy.pretrained_path={folder / 'theirs'}", "--policy.type=paradp", "--policy.sampler=para-ddpm")
    assert evaluated(folder, folder / "by-type", *by_type)["n_episodes"] == 2
    config.write_text(config.read_text().replace('"type": "diffusion"', '"type": "paradp"'))
    assert evaluated(folder, folder / "by-path", f"--policy.path={folder / 'theirs'}")["n_episodes"] == 2


if __name__ == "__main__":
    torch.set_num_threads(1)
    register_third_party_plugins()
    place = Path(sys.argv[1]).resolve()
    for camera in (False, True):
        check_the_same_actions(place / f"same-{camera}", camera)
    check_other_policies_are_refused(place / "act")
    check_real_time_chunking(place / "rtc")
    check_evaluation(place / "evaluation")
    print("the plugin works")

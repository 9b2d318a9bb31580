"""The plugin in LeRobot's calls and commands. Runs where LeRobot, gym-pusht, paradp and the plugin are installed.

python tests/lerobot_plugin.py FOLDER PYTHON     # prints "the plugin works" at its end

Makes small diffusion policies of LeRobot's with random weights in FOLDER, and runs them as they are and by the plugin.
PYTHON is an interpreter that has paradp's simulators.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lerobot.configs.types import FeatureType, PolicyFeature
from lerobot.envs.factory import make_env, make_env_config
from lerobot.envs.utils import env_to_policy_features, preprocess_observation
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
OF_SQUARE = {
    "observation.state": PolicyFeature(FeatureType.STATE, (11,)),
    "observation.environment_state": PolicyFeature(FeatureType.ENV, (18,)),
}
OWN_PUSHT = ("--env.type=pusht", "--env.obs_type=environment_state_agent_pos", "--env.episode_length=40")


def saved(folder: Path, camera: bool = False, seen: dict[str, PolicyFeature] = SEEN, **settings: Any) -> DiffusionPolicy:
    """A policy for PushT, or for what is seen elsewhere, as LeRobot saves it."""
    torch.manual_seed(0)
    settings |= CAMERA if camera else {}
    actions = 10 if seen is OF_SQUARE else 2
    config = DiffusionConfig(
        input_features=SEEN_BY_CAMERA if camera else seen,
        output_features={"action": PolicyFeature(FeatureType.ACTION, (actions,))},
        device="cpu",
        push_to_hub=False,
        **(SIZES | settings),
    )
    policy = DiffusionPolicy(config).eval()
    policy.save_pretrained(folder)
    sizes = {key: one.shape[0] for key, one in seen.items()} | {"action": actions}
    low, high = (-1.0, 1.0) if seen is OF_SQUARE else (0.0, 512.0)
    stats = {key: {"min": torch.full((size,), low), "max": torch.full((size,), high)} for key, size in sizes.items()}
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
    command = [Path(sys.executable).with_name("lerobot-eval"), *arguments]
    settings = (
        "--eval.n_episodes=2",
        "--eval.batch_size=2",
        "--policy.device=cpu",
        "--seed=7",
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
    own = (*OWN_PUSHT, "--eval.use_async_envs=false")
    evaluated(folder, folder / "own", f"--policy.path={folder / 'theirs'}", *own)
    by_type = (f"--policy.pretrained_path={folder / 'theirs'}", "--policy.type=paradp", "--policy.sampler=para-ddpm")
    assert evaluated(folder, folder / "by-type", *by_type, *own)["n_episodes"] == 2
    config.write_text(config.read_text().replace('"type": "diffusion"', '"type": "paradp"'))
    assert evaluated(folder, folder / "own-by-type", *by_type, *own)["n_episodes"] == 2
    assert evaluated(folder, folder / "by-path", f"--policy.path={folder / 'theirs'}", *own)["n_episodes"] == 2


def check_environments(folder: Path, python: str) -> None:
    """paradp's own, in one process or in several the same, by LeRobot's interpreter or by one that has robosuite."""
    saved(folder / "pusht", noise_scheduler_type="DDIM", num_inference_steps=5)
    saved(folder / "square", seen=OF_SQUARE, noise_scheduler_type="DDIM", num_inference_steps=5)
    pusht = (f"--policy.path={folder / 'pusht'}", "--env.type=paradp", "--env.task=pusht", "--env.episode_length=30")
    square = (f"--policy.path={folder / 'square'}", "--env.type=paradp", "--env.episode_length=20", f"--env.python={python}")
    for name, one in (("pusht", pusht), ("square", (*square, "--env.video=false"))):
        processes = [
            evaluated(folder, folder / f"{name}-{several}", *one, f"--eval.use_async_envs={several}")
            for several in ("false", "true")
        ]
        for found in processes:
            assert found["n_episodes"] == 2 and len(found["video_paths"]) == 2
        assert processes[0]["avg_sum_reward"] == processes[1]["avg_sum_reward"] >= 0
    check_that_features_are_those_of_exports()
    check_that_processes_make_no_difference()
    for wrong, said in (({"task": "squar"}, "did you mean 'square'"), ({"state": ["nut_pos"]}, "'nut_pos' is not an obs")):
        try:
            make_env(make_env_config("paradp", **({"task": "pusht", "python": python} | wrong)))
        except ValueError as error:
            assert said in str(error), error
        else:
            raise AssertionError(f"{wrong} was taken")


def check_that_features_are_those_of_exports() -> None:
    """A camera and the robot's own vectors."""
    config = make_env_config("paradp", task="pusht", observation="image")
    envs = make_env(config, n_envs=3, use_async_envs=True)["paradp"][0]
    seen, _ = envs.reset(seed=[3, 4, 5])
    policy = env_to_policy_features(config)
    assert {key: one.shape for key, one in policy.items()} == {
        "action": (2,),
        "observation.state": (2,),
        "observation.images.image": (3, 96, 96),
    }
    read = preprocess_observation(seen)
    assert read["observation.images.image"].shape == (3, 3, 96, 96) and read["observation.state"].shape == (3, 2)
    again, _ = envs.reset(seed=[5, 5, 5])
    assert (again["pixels"]["image"] == seen["pixels"]["image"][2]).all()
    envs.close()


def check_that_processes_make_no_difference() -> None:
    """Three environments in one process or in several; an episode that has ended stands still."""
    played = []
    for several in (False, True):
        config = make_env_config("paradp", task="pusht", episode_length=2, video=False)
        envs = make_env(config, n_envs=3, use_async_envs=several)["paradp"][0]
        actions = np.random.default_rng(0).uniform(-50, 600, (4, 3, 2)).astype(np.float32)
        first = envs.reset(seed=[3, 4, 5])[0]
        steps = [envs.step(one) for one in actions]
        assert envs.call("_max_episode_steps") == (2, 2, 2) and not any(frame.any() for frame in envs.call("render"))
        envs.close()
        played.append([first, *(step[0] for step in steps)])
        assert [step[3].all() for step in steps] == [False, True, True, True] and not steps[2][1].any()
        assert (steps[0][0]["agent_pos"] != steps[1][0]["agent_pos"]).any()
        assert all((steps[1][0][key] == steps[3][0][key]).all() for key in first)
    assert all((one[key] == other[key]).all() for one, other in zip(*played, strict=True) for key in one)


if __name__ == "__main__":
    torch.set_num_threads(1)
    register_third_party_plugins()
    place = Path(sys.argv[1]).resolve()
    for camera in (False, True):
        check_the_same_actions(place / f"same-{camera}", camera)
    check_other_policies_are_refused(place / "act")
    check_real_time_chunking(place / "rtc")
    check_evaluation(place / "evaluation")
    check_environments(place / "environments", sys.argv[2])
    print("the plugin works")

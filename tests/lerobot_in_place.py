"""LeRobot's own policies sampled in place, by LeRobot's own calls. Runs where LeRobot and paradp are installed together.

python tests/lerobot_in_place.py            # prints "as LeRobot's own" at its end
"""

from typing import Any

import torch
from lerobot.configs.types import FeatureType, PolicyFeature
from lerobot.policies.diffusion.configuration_diffusion import DiffusionConfig
from lerobot.policies.diffusion.modeling_diffusion import DiffusionPolicy

from paradp.bridges import parallelize, sampling_of, undo

SIZES = dict(down_dims=(16, 24), diffusion_step_embed_dim=16, horizon=16, n_action_steps=8, n_obs_steps=2)
CAMERA = dict(spatial_softmax_num_keypoints=4, pretrained_backbone_weights=None, use_group_norm=True)


def policy(camera: bool, **settings: Any) -> DiffusionPolicy:
    """A small one with random weights."""
    torch.manual_seed(0)
    seen = {"observation.state": PolicyFeature(FeatureType.STATE, (3,))}
    if camera:
        seen["observation.image"] = PolicyFeature(FeatureType.VISUAL, (3, 48, 48))
    else:
        seen["observation.environment_state"] = PolicyFeature(FeatureType.ENV, (4,))
    sizes = SIZES | (CAMERA if camera else {})
    done = {"action": PolicyFeature(FeatureType.ACTION, (2,))}
    config = DiffusionConfig(input_features=seen, output_features=done, device="cpu", push_to_hub=False, **sizes, **settings)
    return DiffusionPolicy(config).eval()


def actions(theirs: DiffusionPolicy, count: int = 9) -> torch.Tensor:
    """What `select_action` returns for some observations, from more than one chunk and the same noise."""
    generator = torch.Generator().manual_seed(0)
    theirs.reset()
    found = []
    for _ in range(count):
        seen = {k: torch.rand(2, *feature.shape, generator=generator) for k, feature in theirs.config.input_features.items()}
        noise = torch.randn(2, theirs.config.horizon, 2, generator=generator)
        found.append(theirs.select_action(seen, noise=noise))
    return torch.stack(found)


def check(camera: bool) -> None:
    """Steps without noise of their own give the same actions; steps with noise their distribution, in fewer rounds."""
    theirs = policy(camera, noise_scheduler_type="DDIM", num_inference_steps=10)
    own, weights = actions(theirs), list(theirs.state_dict())
    for sampler in ("ddim-10", "para-ddim-10:tolerance=0", "auto"):
        assert parallelize(theirs, sampler) is theirs
        assert (actions(theirs) - own).abs().max() < 1e-5, sampler
    assert list(theirs.state_dict()) == weights
    assert torch.equal(actions(undo(theirs)), own)
    theirs = policy(camera)
    own_spread = actions(theirs, 17).std()
    for sampler in ("para-ddpm", "auto"):
        parallelize(theirs, sampler)
        with torch.inference_mode():
            spread = actions(theirs, 17).std()
        assert abs(spread / own_spread - 1) < 0.3, (sampler, spread, own_spread)
        print(camera, sampler, "rounds", sampling_of(theirs).stats.rounds.tolist(), "instead of 100", flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    for camera in (False, True):
        check(camera)
    print("as LeRobot's own")

"""Errors name what is missing or not supported in a checkpoint of Diffusion Policy or robomimic."""

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from diffusion_policy_fixtures import FACTS, content_of

from paradp.bridges import read_diffusion_policy
from paradp.checkpoints import find_checkpoint, load_policy
from paradp.checkpoints.finding import find_own

Change = Callable[[dict[str, Any]], None]


@pytest.fixture
def changed(saved, tmp_path):
    """Reads a fixture whose content was changed; returns the error message."""

    def read(name: str, change: Change) -> str:
        path = saved(name)
        content = content_of(path)
        change(content)
        torch.save(content, path)
        with pytest.raises(ValueError) as refused:
            read_diffusion_policy(path, FACTS)
        said = str(refused.value)
        assert said.startswith(str(path)) and len(said.splitlines()) == 1
        return said

    return read


def test_an_unchanged_fixture_is_read(saved):
    """Otherwise the next tests would show nothing."""
    for name in ("unet", "transformer", "hybrid", "robomimic", "robomimic_image"):
        path = saved(name)
        before = read_diffusion_policy(path, FACTS)
        torch.save(content_of(path), path)
        after = read_diffusion_policy(path, FACTS)
        assert after.spec == before.spec
        pairs = zip(before.network.state_dict().values(), after.network.state_dict().values(), strict=True)
        assert all(torch.equal(*pair) for pair in pairs)


def policy(**values: Any) -> Change:
    """Other settings of the policy."""
    return lambda content: content["cfg"]["policy"].update(values)


def model(**values: Any) -> Change:
    return lambda content: content["cfg"]["policy"]["model"].update(values)


def scheduler(**values: Any) -> Change:
    return lambda content: content["cfg"]["policy"]["noise_scheduler"].update(values)


def tensors(state: str, change: Change) -> Change:
    """Other tensors of a state dict."""
    return lambda content: change(content["state_dicts"][state])


def without(*names: str) -> Change:
    """Removes a value."""

    def remove(content: dict[str, Any]) -> None:
        for name in names[:-1]:
            content = content[name]
        del content[names[-1]]

    return remove


OF_VECTORS: dict[str, tuple[Change, str]] = {
    "another class": (policy(_target_="x.BETLowdimPolicy"), "it is a BETLowdimPolicy; of Diffusion Policy's classes"),
    "images of another encoder": (policy(_target_="x.DiffusionUnetImagePolicy"), "it is a DiffusionUnetImagePolicy"),
    "a video": (policy(_target_="x.DiffusionUnetVideoPolicy"), "it is a DiffusionUnetVideoPolicy"),
    "inpainting": (policy(obs_as_global_cond=False), "its obs_as_global_cond is false; only true is supported"),
    "local": (policy(obs_as_local_cond=True), "its obs_as_local_cond is true; only false is supported"),
    "later actions": (policy(oa_step_convention=False), "its oa_step_convention is false; only true is supported"),
    "not said": (without("cfg", "policy", "oa_step_convention"), "its oa_step_convention is false"),
    "actions alone": (policy(pred_action_steps_only=True), "its pred_action_steps_only is true"),
    "of no kind": (policy(obs_as_global_cond="maybe"), "policy.obs_as_global_cond must be true or false, not 'maybe'"),
    "unknown": (policy(eta=0.5), "policy.eta is not known here"),
    "an expression": (policy(n_action_steps="${eval:'1+1'}"), "policy.n_action_steps is the expression"),
    "no horizon": (without("cfg", "policy", "horizon"), "its configuration lacks policy.horizon"),
    "no policy": (without("cfg", "policy"), "its configuration lacks policy._target_"),
    "a list": (lambda content: content["cfg"].update(policy=[]), "its configuration lacks policy._target_"),
    "half a step": (policy(n_action_steps=2.5), "policy.n_action_steps must be a whole number from 1 on, not 2.5"),
    "too many": (policy(n_action_steps=16), "execute steps that are not predicted"),
    "an odd horizon": (policy(horizon=15), "a U-Net with 2 levels needs a horizon divisible by 2"),
    "groups": (model(n_groups=3), "channels must be multiples of groups = 3"),
    "other groups": (model(n_groups=10**12), "n_groups must be a whole number from 1 on"),
    "a scheduler": (scheduler(_target_="diffusers.EulerDiscreteScheduler"), "its scheduler is 'EulerDiscreteScheduler'"),
    "a last step": (scheduler(set_alpha_to_one=False), "its scheduler has set_alpha_to_one False"),
    "thresholds": (scheduler(thresholding=True), "its scheduler has the setting 'thresholding', which is not known"),
    "no noise": (without("cfg", "policy", "noise_scheduler", "beta_schedule"), "its scheduler lacks beta_schedule"),
    "a billion steps": (scheduler(num_train_timesteps=10**9), "num_train_timesteps must be"),
    "steps that are none": (policy(num_inference_steps="all"), "its num_inference_steps must be a whole number"),
    "no average": (
        without("state_dicts", "ema_model"),
        "it lacks the weights 'ema_model', with which",
    ),
    "no weights": (lambda content: content["state_dicts"].update(ema_model={}), "it has no weights of a policy"),
    "no states": (lambda content: content.update(state_dicts=[]), "it has no weights of a policy"),
    "not a tensor": (tensors("ema_model", lambda state: state.update(extra=3)), "'extra' is not a tensor of a policy"),
    "one too many": (
        tensors("ema_model", lambda state: state.update({"model.extra": torch.zeros(1)})),
        "nothing takes its tensor 'model.extra'",
    ),
    "local weights": (
        tensors("ema_model", lambda state: state.update({"model.local_cond_encoder.0.x": torch.zeros(1)})),
        "its U-Net has local conditions",
    ),
    "one too few": (
        tensors("ema_model", without("model.mid_modules.1.blocks.1.block.1.bias")),
        "the tensor 'model.mid_modules.1.blocks.1.block.1.bias' is missing",
    ),
    "no first": (tensors("ema_model", without("model.final_conv.1.bias")), "the tensor 'final_conv.1.bias' is missing"),
    "a shape": (
        tensors("ema_model", lambda state: state.update({"model.mid_modules.0.cond_encoder.1.weight": torch.zeros(32, 27)})),
        "'model.mid_modules.0.cond_encoder.1.weight' has shape [32, 27], not [32, 26]",
    ),
    "dimensions": (
        tensors("ema_model", lambda state: state.update({"model.final_conv.1.bias": torch.zeros(3, 1)})),
        "'final_conv.1.bias' has 2 dimensions, not 1",
    ),
    "no statistics": (
        tensors("ema_model", without("normalizer.params_dict.obs.scale")),
        "has no 'normalizer.params_dict.obs.scale': the policy was saved without statistics",
    ),
    "statistics of others": (
        tensors("ema_model", lambda state: state.update({"normalizer.params_dict.obs.scale": torch.ones(4)})),
        "the statistics of 'obs' are not of 5 numbers",
    ),
    "statistics without a range": (
        tensors("ema_model", lambda state: state["normalizer.params_dict.action.scale"].fill_(torch.inf)),
        "the statistics of 'action' are not finite, or leave no range",
    ),
    "many statistics": (
        tensors("ema_model", lambda state: state.update({"normalizer.params_dict.obs.scale": torch.ones(20_000)})),
        "more than 16384 values",
    ),
}
OF_TRANSFORMERS: dict[str, tuple[Change, str]] = {
    "no condition": (policy(obs_as_cond=False), "its obs_as_cond is false; only true is supported"),
    "all actions": (tensors("ema_model", without("model.mask")), "its transformer attends to later actions (causal_attn)"),
    "an encoder": (tensors("ema_model", without("model.encoder.0.weight")), "its transformer has n_cond_layers"),
    "heads": (model(n_head=3), "embedding must be an even multiple of 3 heads"),
    "a horizon": (policy(horizon=12), "the tensor 'model.pos_emb' has shape [1, 10, 16], not [12, 16]"),
}
OF_IMAGES: dict[str, tuple[Change, str]] = {
    "random crops": (policy(eval_fixed_crop=False), "its eval_fixed_crop is false: it sees random crops"),
    "a large crop": (policy(crop_shape=[90, 90]), "a crop of 90 × 90 pixels does not fit into images of 40 × 44"),
    "half a crop": (policy(crop_shape=[36]), "its crop_shape must be a height and a width, not [36]"),
    "another crop": (policy(crop_shape=[30, 30]), "pos_x' is not of images of 40 × 44 pixels"),
    "depth": (
        lambda content: content["cfg"]["policy"]["shape_meta"]["obs"]["camera"].update(type="depth"),
        "its observation 'camera' of type 'depth' and shape [3, 40, 44] is not supported",
    ),
    "no meaning": (policy(shape_meta={}), "its shape_meta says nothing of observations"),
    "temperature": (
        tensors("model", lambda state: state["obs_encoder.obs_nets.camera.nets.1.temperature"].fill_(2)),
        "the spatial softmax of 'camera' has another temperature than 1",
    ),
    "another head": (
        tensors("model", lambda state: state.update({"obs_encoder.obs_nets.camera.nets.3.weight": torch.zeros(32, 64)})),
        "the encoder of 'camera' makes 32 numbers of 32 keypoints; ours makes 64",
    ),
    "no softmax": (
        tensors("model", without("obs_encoder.obs_nets.camera.nets.1.temperature")),
        "the encoder of 'camera' is not a ResNet with a spatial softmax and a linear layer",
    ),
    "a layer more": (
        tensors("model", lambda state: state.update({"obs_encoder.obs_nets.camera.nets.4.weight": torch.zeros(1)})),
        "nothing takes its tensor 'obs_encoder.obs_nets.camera.nets.4.weight'",
    ),
}


def setting(*names: str, to: Any) -> Change:
    """Another value in robomimic's configuration."""

    def change(content: dict[str, Any]) -> None:
        config = inner = json.loads(content["config"])
        for name in names[:-1]:
            inner = inner[name]
        inner[names[-1]] = to
        content["config"] = json.dumps(config)

    return change


OF_ROBOMIMIC: dict[str, tuple[Change, str]] = {
    "another policy": (lambda content: content.update(algo_name="bc"), "a policy of robomimic of type 'bc'"),
    "no text": (lambda content: content.update(config={}), "its config is not JSON text"),
    "a text that is none": (lambda content: content.update(config="{"), "cannot be read: "),
    "nested": (lambda content: content.update(config="[" * 100 + "]" * 100), "nested more than 32 deep"),
    "groups": (setting("algo", "unet", "n_groups", to=4), "its n_groups is 4; robomimic's own code takes 8 all the same"),
    "no schedule": (setting("algo", "ddpm", "enabled", to=False), "neither its ddpm nor its ddim is enabled"),
    "no average": (lambda content: content["model"].update(ema=None), "it lacks the averaged weights (ema)"),
    "no model": (lambda content: content.update(model=[]), "it has no weights of a policy"),
    "no shapes": (lambda content: content.update(shape_metadata={}), "its shape_metadata says nothing of observations"),
    "a shape": (
        lambda content: content["shape_metadata"]["all_shapes"].update(gripper=[1, 2]),
        "its observation 'gripper' of type 'low_dim' and shape [1, 2] is not supported",
    ),
    "no statistics": (without("obs_normalization_stats", "gripper"), "has no statistics of 'gripper' (offset and scale)"),
    "texts": (
        lambda content: content["action_normalization_stats"].update(actions={"offset": [["a"]], "scale": [["b"]]}),
        "has no statistics of 'actions'",
    ),
    "no range": (
        lambda content: content["action_normalization_stats"]["actions"].update(scale=[[1.0, 0.0, 1.0]]),
        "the statistics of 'actions' are not finite, or leave no range",
    ),
    "too few": (
        lambda content: content["action_normalization_stats"].update(actions={"offset": [[0.0]], "scale": [[1.0]]}),
        "the statistics of actions are not of 3 numbers",
    ),
}
RANDOMIZER = ("observation", "encoder", "rgb")
OF_ROBOMIMICS_IMAGES: dict[str, tuple[Change, str]] = {
    "colours": (setting(*RANDOMIZER, "obs_randomizer_class", to="ColorRandomizer"), "obs_randomizer_class is 'ColorRandom"),
    "places": (setting(*RANDOMIZER, "obs_randomizer_kwargs", "pos_enc", to=True), "adds channels (pos_enc)"),
    "an odd margin": (setting(*RANDOMIZER, "obs_randomizer_kwargs", "crop_height", to=37), "is not where ours would be"),
    "statistics": (
        lambda content: content.update(obs_normalization_stats={"camera": {}}),
        "statistics (hdf5_normalize_obs) of images are not supported",
    ),
}
CASES = {
    "unet": OF_VECTORS,
    "transformer": OF_TRANSFORMERS,
    "hybrid": OF_IMAGES,
    "robomimic": OF_ROBOMIMIC,
    "robomimic_image": OF_ROBOMIMICS_IMAGES,
}


@pytest.mark.parametrize(("fixture", "case"), [(fixture, case) for fixture, cases in CASES.items() for case in cases])
def test_an_error_names_unsupported_settings(changed, fixture, case):
    change, message = CASES[fixture][case]
    assert message in changed(fixture, change)


def test_a_truncated_file_is_refused(saved):
    path = saved("unet")
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(ValueError, match=r"unet\.ckpt cannot be read: .*cut short"):
        load_policy(path, **FACTS)


def test_tensors_that_share_values_are_limited_by_the_size_of_the_file(saved):
    """A small file must not make a large network."""
    path = saved("unet")
    content = content_of(path)
    shared = torch.zeros(16, 16, 5)
    state = content["state_dicts"]["ema_model"]
    for name in [name for name, one in state.items() if one.shape == shared.shape and name.startswith("model.")]:
        state[name] = shared
    content["state_dicts"] = {"ema_model": state}
    torch.save(content, path)
    with pytest.raises(ValueError, match="several of its tensors share their values"):
        read_diffusion_policy(path, FACTS)


def test_files_of_other_programs(saved, tmp_path):
    torch.save({"state_dict": {}, "pytorch-lightning_version": "2"}, tmp_path / "lightning.ckpt")
    with pytest.raises(ValueError, match=r"lightning\.ckpt is not a checkpoint of Diffusion Policy or robomimic"):
        load_policy(tmp_path / "lightning.ckpt", **FACTS)
    with pytest.raises(ValueError, match="is a policy of Diffusion Policy or robomimic; this takes check"):
        find_own(saved("unet"))
    (tmp_path / "run/checkpoints").mkdir(parents=True)
    saved("unet").rename(tmp_path / "run/checkpoints/latest.ckpt")
    with pytest.raises(ValueError, match=r"its checkpoints are files, as .*/run/checkpoints/latest\.ckpt"):
        find_checkpoint(tmp_path / "run")
    assert find_checkpoint(tmp_path / "run/checkpoints/latest.ckpt").name == "latest.ckpt"


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"action": {"goal": 2}}, "the parts of 'action', {'goal': 2}, must have 3 numbers in total"),
        ({"observation": {"camera": "wrist"}}, "observation names 'camera', which the policy does not see; it sees obs"),
        ({"observation": {"obs": {"goal": 4}}}, "the parts of 'obs', {'goal': 4}, must have 5 numbers in total"),
        ({"action_low": (0.0,)}, "action_low has 1 value, an action has 3"),
    ],
)
def test_facts_that_do_not_fit_are_refused(saved, facts, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        read_diffusion_policy(saved("unet"), FACTS | facts)

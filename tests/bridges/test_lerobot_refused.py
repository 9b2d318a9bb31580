"""Errors name what is damaged, missing or not supported in a LeRobot checkpoint, before the network is made."""

import json
from pathlib import Path

import pytest
import torch
from lerobot_fixtures import FACTS
from safetensors.torch import load_file, save_file

from paradp.bridges import read_lerobot
from paradp.checkpoints import find_checkpoint, load_policy
from paradp.checkpoints.finding import find_own

CONFIG, BEFORE, AFTER, WEIGHTS = "config.json", "policy_preprocessor.json", "policy_postprocessor.json", "model.safetensors"
STATISTICS = "policy_preprocessor_step_3_normalizer_processor.safetensors"


def change(path: Path, **values) -> None:
    """Changes values in a document."""
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def change_step(path: Path, number: int, **config) -> None:
    """Changes settings of a processor's step."""
    content = json.loads(path.read_text())
    content["steps"][number]["config"].update(config)
    path.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"type": "act"}, "is a policy of LeRobot of type 'act'; of LeRobot's, diffusion policies are read"),
        ({"input_shapes": {}}, "was written before 2025, with input_shapes"),
        ({"noise_shape": 3}, "config.json cannot be read: noise_shape: Unexpected keyword argument"),
        ({"use_peft": True}, "config.json cannot be read: use_peft: Input should be False"),
        (
            {"prediction_type": "score"},
            "config.json cannot be read: prediction_type: Input should be 'epsilon', 'sample' or",
        ),
        ({"normalization_mapping": {"STATE": "LOG"}}, "normalization_mapping.STATE: Input should be 'IDENTITY'"),
        ({"output_features": {"turn": {"type": "ACTION", "shape": [3]}}}, "output_features must be action alone"),
        ({"input_features": {}}, "input_features lacks observation.state"),
        ({"n_action_steps": 16}, "steps that are not predicted"),
        ({"horizon": 17}, "a U-Net with 2 levels needs a horizon divisible by 2"),
        ({"down_dims": [16, 100_000_000]}, "channels must be from 1 to 4096"),
        ({"down_dims": [16, 4096]}, "does not fit its config.json: the tensor .* has shape .*, not"),
        ({"down_dims": [16, 24, 24]}, "does not fit its config.json: the tensor .* is missing"),
        ({"num_train_timesteps": 10**9}, "num_train_timesteps must be a whole number from 1 to"),
        ({"kernel_size": 4}, "kernel_size must be odd, not 4"),
    ],
)
def test_an_unsupported_config_is_refused(lerobot, changes, message):
    path = lerobot("min_max")
    change(path / CONFIG, **changes)
    with pytest.raises(ValueError, match=message):
        read_lerobot(path, FACTS)


def test_a_config_without_a_field_whose_default_changed_is_refused(lerobot):
    path = lerobot("min_max")
    content = json.loads((path / CONFIG).read_text())
    del content["use_group_norm"]
    (path / CONFIG).write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"config.json cannot be read: use_group_norm: "):
        read_lerobot(path, FACTS)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"vision_backbone": "vit_b_16"}, "backbone must be one of resnet18, resnet34, resnet50, not 'vit_b_16'"),
        ({"crop_shape": [65, 60]}, "a crop of 65 × 60 pixels does not fit into images of 64 × 72"),
        (
            {"crop_shape": [57, 30]},
            "does not fit its config.json: the tensor 'diffusion.rgb_encoder.pool.pos_grid' has shape",
        ),
        ({"use_separate_rgb_encoder_per_camera": True}, "the tensor 'diffusion.rgb_encoder.0.backbone.0.weight' is missing"),
        ({"use_group_norm": False}, "the tensor 'diffusion.rgb_encoder.backbone.1.running_mean' is missing"),
        ({"vision_backbone": "resnet34"}, "the tensor 'diffusion.rgb_encoder.backbone.4.2.conv1.weight' is missing"),
    ],
)
def test_an_unknown_encoder_is_refused(lerobot, changes, message):
    path = lerobot("shared_encoder")
    change(path / CONFIG, **changes)
    with pytest.raises(ValueError, match=message):
        read_lerobot(path, FACTS)


def test_cameras_that_a_resnet_cannot_encode_are_refused(lerobot):
    path = lerobot("shared_encoder")
    features = json.loads((path / CONFIG).read_text())["input_features"]
    for shape, message in (
        ([1, 64, 72], "a ResNet sees images of 3 channels, and 'observation.images.camera1' has 1"),
        ([3, 70, 72], "cameras that share an encoder must have images of one size"),
        ([3, 64], "observation.images.camera1 cannot be of type VISUAL and shape"),
        ([3, 100_000, 72], "the height of 'observation.images.camera1' must be from 1 to 4096"),
    ):
        features["observation.images.camera1"]["shape"] = shape
        change(path / CONFIG, input_features=features)
        with pytest.raises(ValueError, match=message):
            read_lerobot(path, FACTS)


@pytest.mark.parametrize(
    ("file", "steps", "message"),
    [
        (
            BEFORE,
            [{"registry_name": "tokenizer_processor", "config": {}}],
            "has the step 'tokenizer_processor', which is not known",
        ),
        (BEFORE, [{"class": "my.module.Blur", "config": {}}], "has the step 'my.module.Blur', which is not known"),
        (BEFORE, [], "policy_preprocessor.json has no step normalizer_processor"),
        (AFTER, [{"registry_name": "device_processor"}], "policy_postprocessor.json has no step unnormalizer_processor"),
        (AFTER, "none", "policy_postprocessor.json cannot be read: steps must be a list of objects"),
    ],
)
def test_processors_with_unknown_steps_are_refused(lerobot, file, steps, message):
    path = lerobot("min_max")
    change(path / file, steps=steps)
    with pytest.raises(ValueError, match=message):
        read_lerobot(path, FACTS)


def test_processors_whose_steps_are_repeated_or_in_another_order_are_refused(lerobot):
    path = lerobot("min_max")
    steps = json.loads((path / BEFORE).read_text())["steps"]
    assert [step["registry_name"] for step in steps][::3] == ["rename_observations_processor", "normalizer_processor"]
    for other, message in (
        ([*steps, steps[3]], "has the step normalizer_processor more than once"),
        ([steps[0], *steps], "has the step rename_observations_processor more than once"),
        ([*steps[1:], steps[0]], "has the step rename_observations_processor after normalizer_processor"),
    ):
        change(path / BEFORE, steps=other)
        with pytest.raises(ValueError, match=message):
            read_lerobot(path, FACTS)


def test_unsupported_settings_of_processors_are_refused(lerobot):
    path = lerobot("min_max")
    original = (path / BEFORE).read_text()
    for number, config, message in (
        (2, {"float_dtype": "float16"}, "float_dtype must be float32"),
        (3, {"eps": 0}, "eps must be a number between 0 and 1, not 0"),
        (3, {"norm_map": {"STATE": "LOG"}}, "norm_map must give types of features one of IDENTITY, MEAN_STD"),
        (3, {"normalize_observation_keys": []}, "has the setting 'normalize_observation_keys', which is not known"),
        (0, {"rename_map": {"a": "observation.state", "b": "observation.state"}}, "rename_map gives several keys one name"),
    ):
        change_step(path / BEFORE, number, **config)
        with pytest.raises(ValueError, match=message):
            read_lerobot(path, FACTS)
        (path / BEFORE).write_text(original)
    content = json.loads(original)
    content["steps"][3]["state_file"] = "../elsewhere.safetensors"
    (path / BEFORE).write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"names no file of statistics beside it"):
        read_lerobot(path, FACTS)


def test_a_renamed_observation_has_the_robots_name(lerobot):
    path = lerobot("min_max")
    change_step(path / BEFORE, 0, rename_map={"joints": "observation.state"})
    assert list(read_lerobot(path, FACTS).spec.observation) == ["joints", "observation.environment_state"]


def test_missing_statistics_are_named(lerobot):
    path = lerobot("min_max")
    whole = load_file(path / STATISTICS)
    for change_to, message in (
        ({"observation.state.max": None}, "has no statistics 'max' of 'observation.state'"),
        ({"observation.state.max": torch.ones(2)}, "the 'max' of 'observation.state' has 2 numbers, not 3"),
        ({"observation.state.max": torch.full((3,), torch.inf)}, "the 'max' of 'observation.state' is not finite"),
        ({"observation.state.max": torch.full((3,), -99.0)}, "the statistics of 'observation.state' leave no range"),
    ):
        changed = {name: tensor for name, tensor in (whole | change_to).items() if tensor is not None}
        save_file(changed, path / STATISTICS)
        with pytest.raises(ValueError, match=message):
            read_lerobot(path, FACTS)
    (path / STATISTICS).unlink()
    with pytest.raises(FileNotFoundError, match=STATISTICS):
        read_lerobot(path, FACTS)
    (path / BEFORE).unlink()
    (path / AFTER).unlink()
    with pytest.raises(ValueError, match=r"min_max has no statistics: policy_preprocessor.json is missing"):
        read_lerobot(path, FACTS)


def test_missing_statistics_of_the_older_form_are_named(lerobot):
    path = lerobot("before_processors")
    weights = load_file(path / WEIGHTS)
    name = "normalize_inputs.buffer_observation_state.min"
    save_file(weights | {name: torch.full((3,), torch.inf)}, path / WEIGHTS)
    with pytest.raises(
        ValueError, match=r"'min' of 'observation.state' is not finite: the policy was saved without statist"
    ):
        read_lerobot(path, FACTS)
    save_file({key: tensor for key, tensor in weights.items() if key != name}, path / WEIGHTS)
    with pytest.raises(ValueError, match=r"model.safetensors has no statistics 'min' of 'observation.state'"):
        read_lerobot(path, FACTS)


def test_truncated_or_additional_weights_are_refused(lerobot):
    path = lerobot("min_max")
    whole = (path / WEIGHTS).read_bytes()
    (path / WEIGHTS).write_bytes(whole[:-100])
    with pytest.raises(ValueError, match=r"model.safetensors cannot be read: .*cut short"):
        read_lerobot(path, FACTS)
    (path / WEIGHTS).write_bytes(whole)
    save_file(load_file(path / WEIGHTS) | {"diffusion.extra": torch.zeros(1)}, path / WEIGHTS)
    with pytest.raises(ValueError, match=r"does not fit its config.json: the tensor 'diffusion.extra' is not expected"):
        read_lerobot(path, FACTS)
    (path / WEIGHTS).unlink()
    with pytest.raises(FileNotFoundError, match=WEIGHTS):
        read_lerobot(path, FACTS)


def test_an_error_names_missing_facts(lerobot):
    path = lerobot("min_max")
    with pytest.raises(
        ValueError, match=r"does not say its task, control_hz, action_low, action_high: write them into .*yaml"
    ):
        load_policy(path, "ddim-5")
    with pytest.raises(ValueError, match=r"does not say its action_low, action_high:"):
        load_policy(path, "ddim-5", task="reach", control_hz=10)


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"control_hz": "often"}, "the facts given cannot be read: control_hz: "),
        ({"tasks": "reach"}, "the facts given cannot be read: tasks: Unexpected keyword argument"),
        ({"action_low": (0.0,)}, "min_max cannot be used: action_low has 1 value, an action has 3"),
        ({"action": {"goal": 2}}, "the parts of 'action', {'goal': 2}, must have 3 numbers in total"),
        ({"observation": {"camera": "wrist"}}, "observation names 'camera', which the policy does not see; it sees obs"),
        ({"observation": {"observation.state": {"goal": 4}}}, "the parts of 'observation.state', .* must have 3 numbers"),
        ({"observation": {"observation.state": "observation.environment_state"}}, "observation names .* twice"),
    ],
)
def test_facts_that_do_not_fit_are_refused(lerobot, facts, message):
    with pytest.raises(ValueError, match=message):
        load_policy(lerobot("min_max"), "ddim-5", **(FACTS | facts))


def test_an_image_cannot_have_parts(lerobot):
    observation = {"observation.images.camera0": {"left": 1}}
    with pytest.raises(ValueError, match=r"'observation.images.camera0' is an image, which has one name and no parts"):
        read_lerobot(lerobot("resnet34"), FACTS | {"observation": observation})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("task: reach\ntask: turn", "cannot be read: a key occurs twice"),
        ("task: &a reach\naction_convention: *a", "cannot be read: aliases are not read"),
        ("- task", "cannot be read: it must contain names and values"),
        ("task: [", "cannot be read: "),
        ("task: !!python/name:os.system", "cannot be read: could not determine a constructor"),
        ("[" * 30_000, "cannot be read: "),
        ("speed: 3", "cannot be read: speed: Unexpected keyword argument"),
        ("task: reach\n" * 6000, "at most 65536 are read"),
    ],
)
def test_an_invalid_file_of_facts_is_refused(lerobot, content, message):
    path = lerobot("min_max")
    (path / "paradp.yaml").write_text(content)
    with pytest.raises(ValueError, match=f"paradp.yaml.*{message}"):
        read_lerobot(path, FACTS)


def test_training_starts_only_from_checkpoints_of_paradp(lerobot):
    with pytest.raises(ValueError, match=r"is a policy of LeRobot; this takes .* only: convert it first: paradp convert "):
        find_own(lerobot("min_max"))


def test_finding_a_checkpoint_needs_no_weights_and_names_unsupported_ones(lerobot):
    path = lerobot("min_max")
    assert find_checkpoint(path) == path
    change(path / CONFIG, type="smolvla")
    with pytest.raises(ValueError, match=r"is a policy of LeRobot of type 'smolvla'"):
        find_checkpoint(path)

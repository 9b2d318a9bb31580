"""Checkpoints of LeRobot's diffusion policy give the same conditions, samples and actions as in LeRobot."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from lerobot_fixtures import FACTS, NAMES, answers, seen
from peer_answers import LOOSE, THEIRS, difference, path_of

from paradp.bridges import read_lerobot
from paradp.bridges.lerobot_config import LeRobotFeature, read_config
from paradp.bridges.lerobot_statistics import Side
from paradp.checkpoints import checkpoint_digest, load_policy, load_trained, read_info, save_checkpoint
from paradp.policy import Horizons, UnetConfig
from paradp.policy.networks.vision.config import VisionConfig
from paradp.sampler import NoisePath, SamplerChoice


@pytest.mark.parametrize("name", NAMES)
def test_conditions_samples_and_actions_equal_lerobots(lerobot, name, monkeypatch):
    answer, path = answers(name), lerobot(name)
    own = read_config(path).sampler
    policy = load_policy(path, own, engine="eager", **FACTS)
    condition = policy.condition(seen(answer))
    assert difference(condition, answer["condition"]) < 1e-6
    for samplers, most in ((THEIRS, 1e-5), (LOOSE, 1e-4)):
        for sampler, theirs in samplers.items():
            solver = SamplerChoice.parse(sampler).build(policy.spec.schedule)
            noise = path_of(answer, solver.table.steps)
            solution = solver.solve(policy.engine, policy.engine.encode(answer["condition"]), noise)
            assert difference(solution.sample, answer[theirs]) < most, sampler
    # What LeRobot's own `select_action` executes, in data units.
    monkeypatch.setattr(NoisePath, "draw", lambda generators, steps, shape, device: path_of(answer, steps))
    plan = policy.plan(seen(answer), [torch.Generator()] * 2)
    actions = answer["actions"].numpy()
    found = plan.actions[:, : policy.spec.horizons.execute]
    assert found.shape == actions.shape
    spread = np.ptp(answer["actions"].numpy(), (0, 1)).max()
    assert np.abs(found - actions).max() < 1e-5 * spread


def test_the_fixtures_cover_every_case_of_the_readers():
    """Each case of the reader occurs in a fixture."""
    from lerobot_fixtures import FIXTURES

    configs = [read_config(FIXTURES / name) for name in NAMES]
    visions = [config for config in configs if any(one.type == "VISUAL" for one in config.seen.values())]
    assert {config.vision_backbone for config in configs} == {"resnet18", "resnet34", "resnet50"}
    assert {config.use_group_norm for config in visions} == {True, False}
    assert {config.use_separate_rgb_encoder_per_camera for config in visions} == {True, False}
    assert {config.prediction_type for config in configs} == {"epsilon", "sample", "v_prediction"}
    assert {config.horizon for config in configs} == {16, 64}
    modes = {mode for config in configs for mode in config.normalization_mapping.values()}
    assert modes == {"MEAN_STD", "MIN_MAX", "QUANTILES", "QUANTILE10", "IDENTITY"}
    assert {config.use_film_scale_modulation for config in configs} == {True, False}
    assert any(not (FIXTURES / name / "policy_preprocessor.json").exists() for name in NAMES)


def test_the_specification_is_read_from_the_checkpoint(lerobot):
    spec = read_lerobot(lerobot("each_camera"), FACTS).spec
    assert spec.observation == {
        "observation.state": 3,
        "observation.images.camera0": (64, 72, 3),
        "observation.images.camera1": (64, 72, 3),
    }
    assert spec.action == {"action": 3} and spec.horizons == Horizons(2, 16, 8)
    assert spec.network == UnetConfig(channels=(16, 24), timestep_embedding=16)
    # 0.9 of 48 × 56, whatever crop_shape says.
    assert spec.vision == VisionConfig(stem=64, norm="batch", keypoints=4, resize=(48, 56), crop=(43, 50))
    assert spec.condition_size == 2 * (3 + 2 * 8) and spec.action_convention == "as recorded"
    assert read_lerobot(lerobot("bias_film"), FACTS).spec.network.head_groups == 8


def test_a_constant_action_with_mean_and_deviation_is_its_mean_as_in_lerobot(lerobot):
    statistics = {"action.mean": torch.tensor([1.0, 7.0]), "action.std": torch.tensor([0.5, 0.0])}
    side = Side(lerobot("min_max"), {"ACTION": "MEAN_STD"}, statistics)
    actions = side.normalizer("action", LeRobotFeature("ACTION", (2,)), inverse=True).denormalize(torch.tensor([[2.0, 2.0]]))
    assert torch.allclose(actions, torch.tensor([[2.0, 7.0]]))
    statistics["action.std"][1] = -0.5
    with pytest.raises(ValueError, match="leave no range, or one below 0"):
        side.normalizer("action", LeRobotFeature("ACTION", (2,)), inverse=True)


def test_a_constant_dimension_becomes_minus_one_as_in_lerobot(lerobot):
    policy = load_policy(lerobot("min_max"), "ddim-5", engine="eager", **FACTS)
    history = seen(answers("min_max"))
    history["observation.state"][:, :, 1] = np.float32(7.3)
    state = policy.condition(history).unflatten(1, (2, -1))[:, :, :3]
    assert (state[:, :, 1] == -1).all() and (state[:, :, 0] != -1).all()
    # The action's second dimension is constant, too: no sample moves it away.
    actions = policy.plan(history, [torch.Generator().manual_seed(i) for i in range(2)]).actions
    assert np.abs(actions[:, :, 1] - 7.3).max() < 1e-5 and np.ptp(actions[:, :, 0]) > 0.1


def test_vectors_are_split_into_the_named_quantities(lerobot):
    path = lerobot("resnet34")
    names = {
        "observation.state": {"position": 2, "angle": 1},
        "observation.images.camera0": "wrist",
        "observation.environment_state": "things",
    }
    named = load_policy(path, "ddim-5", engine="eager", **FACTS, observation=names, action={"goal": 2, "grip": 1})
    assert named.spec.observation == {"position": 2, "angle": 1, "wrist": (49, 66, 3), "things": 4}
    plain = load_policy(path, "ddim-5", engine="eager", **FACTS)
    history = seen(answers("resnet34"))
    state = history["observation.state"]
    parts = {"position": state[..., :2], "angle": state[..., 2:], "wrist": history["observation.images.camera0"]}
    parts["things"] = history["observation.environment_state"]
    assert torch.equal(named.condition(parts), plain.condition(history))


def test_facts_are_also_read_from_the_file_beside_the_weights(lerobot):
    path = lerobot("min_max")
    lines = ["task: reach", "control_hz: 10", "action_low: [-9, -9, -9]", "action_high: [9, 9, 9]", "action: {goal: 3}"]
    (path / "paradp.yaml").write_text("\n".join(lines))
    info = read_info(path)
    assert (info.spec.task, info.spec.control_hz, info.spec.action_low) == ("reach", 10, (-9.0,) * 3)
    assert load_policy(path, "ddim-5", engine="eager", control_hz=20).spec.control_hz == 20
    before = checkpoint_digest(path)
    (path / "paradp.yaml").write_text("\n".join(lines).replace("9", "8"))
    assert checkpoint_digest(path) != before and read_info(path).model_sha256 == info.model_sha256


def test_a_policy_of_lerobot_is_stored_as_a_checkpoint_of_paradp(lerobot, tmp_path):
    trained = read_lerobot(lerobot("shared_encoder"), FACTS)
    save_checkpoint(trained, tmp_path / "ours", "# a card")
    again = load_trained(tmp_path / "ours")
    assert again.spec == trained.spec
    history = {key: torch.from_numpy(values) for key, values in seen(answers("shared_encoder")).items()}
    with torch.no_grad():
        conditions = [
            t.network.eval().encode_observation(t.observation_normalizer.normalize(history)) for t in (trained, again)
        ]
    assert torch.equal(*conditions)
    assert torch.equal(trained.action_normalizer.shift, again.action_normalizer.shift)
    with pytest.raises(ValueError, match="which contains this information: leave out task"):
        load_policy(tmp_path / "ours", "ddpm", task="reach")


def test_the_prefix_of_a_compiled_network_is_removed(lerobot):
    from safetensors.torch import load_file, save_file

    path = lerobot("min_max")
    weights = load_file(path / "model.safetensors")
    save_file({n.replace(".unet.", ".unet._orig_mod."): t for n, t in weights.items()}, path / "model.safetensors")
    compiled = read_lerobot(path, FACTS).network.state_dict()
    # Two tensors with different numbers that differ otherwise only by name.
    theirs = weights["diffusion.unet.down_modules.0.0.conv1.block.0.weight"]
    assert torch.equal(compiled["down.0.first.first.0.weight"], theirs)


def test_every_engine_computes_a_policy_of_lerobot(lerobot):
    path, history = lerobot("each_camera"), seen(answers("each_camera"))
    plans = [
        load_policy(path, "para-ddim-10", engine=engine, **FACTS).plan(
            history, [torch.Generator().manual_seed(i) for i in (0, 1)]
        )
        for engine in ("eager", "openvino")
    ]
    assert np.abs(plans[0].actions - plans[1].actions).max() < 0.05


def test_the_error_for_a_folder_of_a_training_names_its_checkpoint(lerobot, tmp_path):
    training = tmp_path / "last"
    training.mkdir()
    lerobot("min_max").rename(training / "pretrained_model")
    with pytest.raises(ValueError, match=f"is of a training of LeRobot; its checkpoint is {training}/pretrained_model"):
        load_policy(training, "ddpm")
    assert load_policy(Path(training / "pretrained_model"), "ddim-5", engine="eager", **FACTS).spec.task == "reach"


def test_a_policy_of_the_plugin_is_read_like_one_of_lerobot(lerobot):
    path = lerobot("min_max")
    before = load_policy(path, "ddim-5", engine="eager", **FACTS)
    config = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps(config | {"type": "paradp", "sampler": "para-ddpm"}))
    after = load_policy(path, "ddim-5", engine="eager", **FACTS)
    assert after.spec == before.spec

"""Checkpoints of Diffusion Policy and robomimic give the same conditions, samples and actions as in these programs."""

import numpy as np
import pytest
import torch
from diffusion_policy_fixtures import FACTS, NAMES, answers
from lerobot_fixtures import seen
from peer_answers import LOOSE, THEIRS, difference, path_of

from paradp.bridges import read_diffusion_policy
from paradp.bridges.single_file import outline_of
from paradp.bridges.torch_file import TorchFile
from paradp.checkpoints import checkpoint_digest, load_policy, load_trained, read_card, read_info, save_checkpoint
from paradp.policy import Horizons, UnetConfig
from paradp.policy.networks.transformer_config import TransformerConfig
from paradp.policy.networks.vision.config import VisionConfig
from paradp.sampler import NoisePath, SamplerChoice


@pytest.mark.parametrize("name", NAMES)
def test_conditions_samples_and_actions_equal_those_of_the_other_program(saved, name, monkeypatch):
    answer, path = answers(name), saved(name)
    policy = load_policy(path, outline_of(path).sampler, engine="eager", **FACTS)
    horizons = policy.spec.horizons
    assert difference(policy.condition(seen(answer)), answer["condition"]) < 1e-6
    for samplers, most in ((THEIRS, 1e-5), (LOOSE, 1e-4)):
        for sampler, theirs in samplers.items():
            solver = SamplerChoice.parse(sampler).build(policy.spec.schedule)
            noise = path_of(answer, solver.table.steps)
            sample = solver.solve(policy.engine, policy.engine.encode(answer["condition"]), noise).sample
            if name.startswith("robomimic"):  # of whose samples only the actions to execute are handed out
                sample = sample[:, horizons.observe - 1 :][:, : horizons.execute]
            assert difference(sample, answer[theirs]) < most, sampler
    # What they execute, in data units.
    monkeypatch.setattr(NoisePath, "draw", lambda generators, steps, shape, device: path_of(answer, steps))
    plan = policy.plan(seen(answer), [torch.Generator()] * 2)
    actions, found = answer["actions"].numpy(), plan.actions[:, : horizons.execute]
    assert found.shape == actions.shape
    # Of the range that actions have in the data; random weights need not use it.
    scale = read_diffusion_policy(path, FACTS).action_normalizer.scale.numpy()
    assert np.abs(found - actions).max() < 1e-5 * scale.max()


def test_the_fixtures_cover_every_case_of_the_readers(saved):
    """Each case of the readers occurs in a fixture."""
    outlines = {name: outline_of(saved(name)) for name in NAMES}
    assert {outline.whose for outline in outlines.values()} == {"Diffusion Policy", "robomimic"}
    assert {outline.network.kind for outline in outlines.values()} == {"unet", "transformer"}
    visions = [outline.vision for outline in outlines.values() if outline.vision is not None]
    assert {vision.norm for vision in visions} == {"group", "batch"}
    assert any(vision.crop is None for vision in visions) and any(vision.crop == (36, 38) for vision in visions)
    assert {outline.sampler for outline in outlines.values()} == {"ddpm", "ddim-10"}
    assert {outline.schedule["prediction_type"] for outline in outlines.values()} == {"epsilon", "sample"}
    assert {outline.weights.scales for outline in outlines.values()} == {True, False}
    assert any(sum(not isinstance(one, int) for one in outline.seen.values()) == 2 for outline in outlines.values())


def test_the_specification_is_read_from_the_file(saved):
    spec = read_diffusion_policy(saved("hybrid"), FACTS).spec
    assert spec.observation == {"camera": (40, 44, 3), "gripper": 1, "eef_pos": 3}
    assert spec.network == UnetConfig(channels=(8, 16), timestep_embedding=16) and spec.horizons == Horizons(2, 16, 8)
    assert spec.vision == VisionConfig(stem=64, norm="group", crop=(36, 38)) and spec.condition_size == 2 * (64 + 4)
    spec = read_diffusion_policy(saved("transformer"), FACTS).spec
    assert spec.network == TransformerConfig(layers=2, heads=2, embedding=16) and spec.observation == {"obs": 5}
    # Two numbers of its configuration that Diffusion Policy adds by an expression: it is recognised, and not evaluated.
    assert read_diffusion_policy(saved("unet_ddim"), FACTS).spec.horizons == Horizons(2, 16, 6 + 1)


def test_the_averaged_weights_are_read(saved):
    path = saved("unet")
    states = TorchFile.open(path).content["state_dicts"]
    name = "model.final_conv.1.weight"
    file = TorchFile.open(path)
    last, averaged = (file.values(states[one][name], 1000) for one in ("model", "ema_model"))
    head = read_diffusion_policy(path, FACTS).network.state_dict()["head.1.weight"]
    assert torch.equal(head, averaged) and not torch.equal(head, last)


def test_a_constant_dimension_is_scaled_as_in_diffusion_policy(saved):
    """Diffusion Policy maps a constant to the middle, and shifts other values without scaling them."""
    policy = load_policy(saved("unet"), "ddim-5", engine="eager", **FACTS)
    history = seen(answers("unet"))
    state = policy.condition(history).unflatten(1, (2, -1))
    assert (state[:, :, 1].abs() < 1e-6).all()
    history["obs"][:, :, 1] += 0.5
    assert torch.allclose(policy.condition(history).unflatten(1, (2, -1))[:, :, 1], torch.tensor(0.5), atol=1e-5)


def test_vectors_are_split_into_the_named_quantities(saved):
    path, history = saved("unet"), seen(answers("unet"))
    parts = {"obs": {"agent": 2, "block": 3}}
    named = load_policy(path, "ddim-5", engine="eager", **FACTS, observation=parts, action={"goal": 2, "grip": 1})
    plain = load_policy(path, "ddim-5", engine="eager", **FACTS)
    cut = {"agent": history["obs"][..., :2], "block": history["obs"][..., 2:]}
    assert torch.equal(named.condition(cut), plain.condition(history))


@pytest.mark.parametrize("own", [True, False])
def test_facts_are_read_from_the_file_beside_the_checkpoint(saved, own):
    path = saved("robomimic")
    lines = ["task: reach", "control_hz: 10", "action_low: [-9, -9, -9]", "action_high: [9, 9, 9]"]
    facts = path.with_name(f"{path.name}.paradp.yaml" if own else "paradp.yaml")
    facts.write_text("\n".join(lines))
    if own:
        path.with_name("paradp.yaml").write_text("task: another")
    info = read_info(path)
    assert (info.spec.task, info.spec.control_hz, info.spec.action_low) == ("reach", 10, (-9.0,) * 3)
    assert load_policy(path, "ddim-5", engine="eager", control_hz=20).spec.control_hz == 20
    before = checkpoint_digest(path)
    facts.write_text("\n".join(lines).replace("9", "8"))
    assert checkpoint_digest(path) != before and read_info(path).model_sha256 == info.model_sha256


def test_an_error_names_missing_facts(saved):
    path = saved("unet")
    with pytest.raises(
        ValueError, match=r"does not say its task, control_hz, action_low, action_high: write them into .*/p"
    ):
        load_policy(path, "ddpm")
    with pytest.raises(ValueError, match=r"does not say its action_high"):
        load_policy(path, "ddpm", **{key: value for key, value in FACTS.items() if key != "action_high"})


def test_a_converted_policy_is_a_checkpoint_of_paradp(saved, tmp_path):
    trained = read_diffusion_policy(saved("hybrid"), FACTS)
    save_checkpoint(trained, tmp_path / "ours", "# a card")
    again = load_trained(tmp_path / "ours")
    assert again.spec == trained.spec
    history = {key: torch.from_numpy(values) for key, values in seen(answers("hybrid")).items()}
    with torch.no_grad():
        conditions = [
            one.network.eval().encode_observation(one.observation_normalizer.normalize(history)) for one in (trained, again)
        ]
    assert torch.equal(*conditions)


def test_the_card_describes_the_policy(saved):
    card = read_card(saved("hybrid"))
    assert "hybrid.ckpt: diffusion policy of Diffusion Policy" in card and "camera 40 × 44 pixels, gripper 1" in card
    assert "resnet18 with group normalisation, one for each camera, cropped to 36 × 38" in card
    assert "robomimic's own sampler | ddpm |" in read_card(saved("robomimic"))


def test_a_link_given_as_checkpoint_is_followed(saved, tmp_path):
    link = tmp_path / "links" / "last.ckpt"
    link.parent.mkdir()
    link.symlink_to(saved("unet"))
    assert load_policy(link, "ddim-5", engine="eager", **FACTS).spec.task == "reach"
    assert len(checkpoint_digest(link)) == 64


def test_auto_measures_a_policy_of_another_program(saved):
    assert load_policy(saved("unet"), "auto", engine="eager", **FACTS).planned is not None

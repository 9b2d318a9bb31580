"""Policies are converted to LeRobot's format and back bit by bit; those that it cannot represent are refused."""

import json
from dataclasses import replace

import pytest
import torch
from documented import ROOT
from lerobot_fixtures import FACTS, NAMES

from paradp.bridges import read_lerobot
from paradp.bridges.lerobot_config import STEM, LeRobotFeature, read_config
from paradp.bridges.to_lerobot import write_lerobot
from paradp.bridges.to_lerobot_statistics import scaled
from paradp.checkpoints import find_checkpoint, load_trained, pretrained
from paradp.policy import Horizons, Normalizer, UnetConfig
from paradp.policy.learning.lesson import TrainedPolicy
from paradp.policy.networks.transformer_config import TransformerConfig
from paradp.policy.networks.vision.config import VisionConfig
from paradp.sampler import step_table

# LeRobot's own code computes this prediction, but its configuration refuses it.
WRITTEN = [name for name in NAMES if name != "v_prediction"]


def there_and_back(trained: TrainedPolicy, folder, **settings) -> TrainedPolicy:
    folder.mkdir()
    write_lerobot(trained, folder, "# a card", **settings)
    return read_lerobot(folder)


def check_same(one: TrainedPolicy, other: TrainedPolicy) -> None:
    state = other.network.state_dict()
    assert one.network.state_dict().keys() == state.keys()
    assert all(torch.equal(tensor.float(), state[name]) for name, tensor in one.network.state_dict().items())
    for what in ("offset", "scale", "shift"):
        for side in ("observation_normalizer", "action_normalizer"):
            assert torch.equal(getattr(getattr(one, side), what), getattr(getattr(other, side), what)), (side, what)
    tables = [step_table(trained.spec.schedule) for trained in (one, other)]
    assert tables[0].clip == tables[1].clip
    for name in ("timesteps", "alpha_bar", "from_state", "from_prediction"):
        assert torch.equal(*(getattr(table, name) for table in tables)), name
    assert replace(one.spec, schedule=other.spec.schedule) == other.spec


@pytest.mark.parametrize("name", WRITTEN)
def test_a_policy_from_lerobot_is_converted_back_bit_by_bit(lerobot, tmp_path, name):
    trained = read_lerobot(lerobot(name), FACTS)
    check_same(trained, there_and_back(trained, tmp_path / "back"))
    before, after = (read_config(tmp_path / folder) for folder in (name, "back"))
    assert (before.crop, before.seen, before.schedule) == (after.crop, after.seen, after.schedule)


@pytest.mark.parametrize("name", pretrained())
def test_the_pretrained_policies_are_converted_there_and_back_bit_by_bit(tmp_path, name):
    trained = load_trained(find_checkpoint(name))
    check_same(trained, there_and_back(trained, tmp_path / name, sampler="ddim-10"))
    config = json.loads((tmp_path / name / "config.json").read_text())
    assert config["type"] == "diffusion" and (config["noise_scheduler_type"], config["num_inference_steps"]) == ("DDIM", 10)
    sizes = {key: one["shape"] for key, one in config["input_features"].items()}
    assert sizes["observation.state"][0] + sizes["observation.environment_state"][0] == trained.spec.observation_size
    assert read_config(tmp_path / name).sampler == "ddim-10"


def test_the_quantities_of_the_robots_state_can_be_selected(tmp_path):
    trained = load_trained(find_checkpoint("square"))
    sizes = dict(trained.spec.observation)
    state = {name: sizes.pop(name) for name in ("eef_pos", "eef_rot6d", "gripper_qpos")}
    keys = {"observation.environment_state": sizes, "observation.state": state}
    check_same(trained, there_and_back(trained, tmp_path / "square", observation=keys))
    config = json.loads((tmp_path / "square/config.json").read_text())
    assert config["input_features"]["observation.state"] == {"type": "STATE", "shape": [11]}
    for wrong, said in (
        ({"observation.state": {"nut_pos": 3}, "observation.environment_state": state}, "that would be nut_pos, eef_pos"),
        ({"observation.state": state}, "sees observation.state and besides it images or observation.environment_state"),
    ):
        with pytest.raises(ValueError, match=said):
            write_lerobot(trained, tmp_path, "", observation=wrong)


@pytest.mark.parametrize("kind", ["STATE", "VISUAL"])
@pytest.mark.parametrize("shift", [0.0, -1.0])
@pytest.mark.parametrize("inverse", [False, True])
def test_normalisers_and_statistics_are_equal_bit_by_bit(kind, shift, inverse):
    """Except for rounding of images, whose values in LeRobot are at most 1."""
    generator = torch.Generator().manual_seed(1)
    size, unit, within = (3, 255.0, 1e-5) if kind == "VISUAL" else (2000, 1.0, 0.0)
    offset = 10 ** (4 * torch.rand(size, generator=generator) - 2) * torch.randn(size, generator=generator)
    scale = 10 ** (4 * torch.rand(size, generator=generator) - 1)
    if shift:  # a range is the difference of two numbers
        scale = ((offset + 2 * scale) - offset) / 2
    feature = LeRobotFeature(kind, (3, 8, 8) if kind == "VISUAL" else (size,))
    found = scaled({"one": feature}, {"one": [Normalizer(offset, scale, torch.full_like(offset, shift))]}, inverse)
    first, second = (tensor.flatten() for tensor in found.statistics.values())
    spread = (second - first) / 2 if shift else second + (0.0 if inverse else 1e-8)
    assert list(found.modes.values()) == ["MIN_MAX" if shift else "MEAN_STD"]
    assert (unit * first - offset).abs().max() <= within * offset.abs().max()
    assert (unit * spread / scale - 1).abs().max() <= within


FLOW = {"_class_name": "FlowMatchEulerDiscreteScheduler", "num_train_timesteps": 100, "shift": 1.0}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"network": TransformerConfig()}, "has a U-Net; this one has a transformer"),
        ({"schedule": FLOW}, "samples by diffusion; this one is of the kind 'flow'"),
        ({"network": UnetConfig(groups=4)}, "last normalisation of LeRobot's U-Net has 8 groups; this one's 4"),
        ({"horizons": Horizons(2, 12, 8)}, "3 levels needs a horizon divisible by 8 in LeRobot; this one's is 12"),
        ({"prediction_type": "v_prediction"}, r"predicts the noise \(epsilon\) or the sample; this one v_prediction"),
        ({"variance_type": "fixed_large"}, "has no variance_type 'fixed_large'"),
        (
            {"observation": {"agent_pos": 18}},
            "besides it images or observation.environment_state; this one sees",
        ),
        (
            {"observation": {"top": (48, 48, 3), "agent_pos": 18}, "vision": VisionConfig(stem=64)},
            "LeRobot's diffusion policy sees",
        ),
        (
            {"observation": {"a": 2, "top": (48, 48, 3), "b": 2, "front": (48, 48, 3)}, "vision": VisionConfig(stem=64)},
            "that would be a, top, front, b; this one sees a, top, b, front",
        ),
        (
            {"observation": {"a": 2, "top": (48, 48, 3)}, "vision": VisionConfig(stem=32)},
            "ResNets begin with 64 channels, this policy's with 32: train it with --stem 64",
        ),
        ({"observation": {"a": 2, "top": (4, 4, 3)}}, "encodes images; this one sees top as plain numbers"),
        (
            {"observation": {"a": 2, "top": (48, 48, 3), "front": (48, 64, 3)}, "vision": VisionConfig(stem=64)},
            "cameras of LeRobot's diffusion policy have images of one size",
        ),
        (
            {"observation": {"a": 2, "top": (48, 48, 3)}, "vision": VisionConfig(stem=64, resize=(40, 40), crop=(30, 20))},
            r"keeps one share of height and width; a crop of \(30, 20\) from \(40, 40\) is none",
        ),
    ],
)
def test_policies_that_lerobot_cannot_represent_are_refused(tmp_path, change, said):
    trained = load_trained(find_checkpoint("pusht"))
    settings = {name: value for name, value in change.items() if name in ("prediction_type", "variance_type")}
    others = {name: value for name, value in change.items() if name not in settings}
    spec = replace(trained.spec, **{"schedule": trained.spec.schedule | settings} | others)
    parts = {name: one.channels for name, one in spec.observed.items()}
    seen = type(trained.observation_normalizer)(
        {name: Normalizer(torch.zeros(size), torch.ones(size)) for name, size in parts.items()}
    )
    with pytest.raises(ValueError, match=said):
        write_lerobot(replace(trained, spec=spec, observation_normalizer=seen), tmp_path, "# a card")
    assert not list(tmp_path.iterdir())


def test_the_help_and_the_guides_say_which_stem_lerobot_needs():
    assert f"a policy for LeRobot needs {STEM}" in " ".join(VisionConfig.__doc__.split())
    for page in ("bridges.md", "your-own-data.md"):
        assert f"`--stem {STEM}`" in (ROOT / "docs" / page).read_text(), page


@pytest.mark.parametrize("sampler", ["para-ddpm", "ddpm-10", "ddim-10:eta=1", "auto"])
def test_lerobot_has_two_samplers(tmp_path, sampler):
    with pytest.raises(ValueError, match="LeRobot samples by ddpm, ddpm-N:spacing=leading or ddim-N; not by"):
        write_lerobot(load_trained(find_checkpoint("pusht")), tmp_path, "", sampler)

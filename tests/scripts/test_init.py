"""`paradp train --init`: a policy to start from brings its network, process, image encoder and horizons."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from lerobot_fixtures import PUSHT, for_pusht

from paradp.checkpoints import read_card, read_info
from paradp.checkpoints.cards import read_trainings
from paradp.policy import Horizons, UnetConfig
from paradp.policy.features import observed_features
from paradp.policy.learning.config import TrainingConfig
from paradp.policy.learning.starting import settings_of
from paradp.policy.learning.training import spec_for
from paradp.policy.networks.transformer_config import TransformerConfig
from paradp.policy.networks.vision.config import PixelsConfig, VisionConfig
from paradp.policy.process import process_of
from paradp.policy.process_config import DiffusionConfig, FlowConfig, process_config

STORE = Path(__file__).parent.parent / "data" / "behaviour" / "demonstrations.zarr"
SHORT = ("--steps", 2, "--batch-size", 8, "--save-every", 1, "--no-bf16")


@pytest.fixture
def train(printed_by, tmp_path):
    """Trains on a few demonstrations of PushT; returns the output or the error."""

    def run(out, *arguments, data=STORE, **options):
        return printed_by("train", "pusht", "--data", data, "--out", tmp_path / out, *SHORT, *arguments, **options)

    return run


@pytest.fixture
def converted(printed_by, tmp_path) -> Path:
    """A policy of LeRobot in paradp's format."""
    theirs = for_pusht(tmp_path / "theirs")
    (theirs / "paradp.yaml").write_text(PUSHT)
    printed_by("convert", theirs, "--out", tmp_path / "converted")
    return tmp_path / "converted"


def test_a_converted_policy_is_trained_on(train, converted, tmp_path):
    train("tuned", "--init", converted)
    before, after = read_info(converted).spec, read_info(tmp_path / "tuned/checkpoint").spec
    assert before.network.timestep_embedding == 16 and "beta_start" in before.schedule  # no options have this effect
    for name in ("network", "schedule", "vision", "horizons"):
        assert getattr(after, name) == getattr(before, name)
    assert f"> Converted from {tmp_path / 'theirs'}" in read_card(tmp_path / "tuned/checkpoint")
    assert [one.steps for one in read_trainings(tmp_path / "tuned/checkpoint")] == [2]

    train("tuned", "--init", converted)  # continues
    train("again", "--init", tmp_path / "tuned/checkpoint", "--execute", 3)
    assert read_info(tmp_path / "again/checkpoint").spec.horizons.execute == 3
    assert [one.steps for one in read_trainings(tmp_path / "again/checkpoint")] == [2, 2]


NETWORK = ("--channels", 8, 16, "--prediction-type", "sample", "--observe", 1, "--predict", 8, "--execute", 4)


def test_a_policy_keeps_what_was_not_typed_and_refuses_what_contradicts_it(train, tmp_path):
    train("first", *NETWORK)
    init = ("--init", tmp_path / "first/checkpoint")
    train("second", *init, *NETWORK)
    train("second", *init)  # the same training
    spec = read_info(tmp_path / "second/checkpoint").spec
    assert (spec.horizons, spec.network.channels) == (Horizons(1, 8, 4), (8, 16))
    for typed, said in (
        # Typed defaults count, too.
        ("--channels 64 128 256", "--channels must be left out or 8 16, as in the policy to start from, not 64 128 256"),
        ("--predict 16", "--predict must be left out or 8"),
        ("--network transformer", "--network must be left out or unet"),
        ("--layers 4", "--layers must be left out"),
        ("--process flow", "--process must be left out or diffusion"),
        ("--prediction-type epsilon", "--prediction-type must be left out or sample"),
        ("--beta-end 0.1", "--beta-end must be left out"),
        ("--observation-scaling min-max", "--observation-scaling must be left out"),
        ("--execute 9", "execute steps that are not predicted"),
    ):
        assert said in train("third", *init, *typed.split(), refused=True)
    assert not (tmp_path / "third").exists()


def test_a_converted_policy_is_distilled(printed_by, converted, tmp_path):
    printed_by("distill", converted, "--data", STORE, "--out", tmp_path / "student", *SHORT)
    card = read_card(tmp_path / "student/checkpoint")
    assert "## Distilled from an earlier policy\n> # pusht: diffusion policy\n" in card


def test_other_demonstrations_and_distilled_policies_are_refused(train, printed_by, tmp_path):
    train("first", *NETWORK)
    init = ("--init", tmp_path / "first/checkpoint")
    slower = tmp_path / "slower.zarr"
    shutil.copytree(STORE, slower)
    content = (slower / "zarr.json").read_text()
    (slower / "zarr.json").write_text(content.replace('"control_hz": 10', '"control_hz": 20'))
    said = train("third", *init, data=slower, refused=True)
    assert "the policy does not fit the demonstrations (control_hz: 10 in the policy, 20 in the demonstrations)" in said
    printed_by("distill", init[1], "--data", STORE, "--out", tmp_path / "student", *SHORT)
    said = train("third", "--init", tmp_path / "student/checkpoint", refused=True)
    assert "a policy with a schedule of LCMScheduler cannot be trained on: a distilled policy" in said


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"network": UnetConfig(channels=(8, 16), kernel_size=3), "process": DiffusionConfig("sample"), "execute": 4},
        {"network": TransformerConfig(layers=1), "process": DiffusionConfig("epsilon", "linear", beta_end=0.3)},
        {"process": FlowConfig(), "observe": 1, "execute": 4},
        {"vision": VisionConfig(stem=16)},
        {"vision": VisionConfig(crop=(20, 20))},
        {"vision": PixelsConfig()},
    ],
)
def test_a_run_with_all_options_of_its_start_continues_without_them(options, info):
    """The settings are in the state of a run, which earlier versions wrote with all options."""
    config = TrainingConfig(**options)
    if "vision" in options:
        info = replace(info, observation=info.observation | {"camera": (32, 32, 3)})
    vision = config.vision.fitted(observed_features(info.observation))
    spec = spec_for(info, config.network, config.process.schedule, vision, config.horizons)
    assert TrainingConfig(**settings_of(spec)).settings() == config.settings()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"beta_start": "x"}, "beta_start = 'x' is not supported"),
        ({"prediction_type": ["epsilon"]}, r"prediction_type = \['epsilon'\] is not supported"),
        ({"_class_name": "LCMScheduler"}, "LCMScheduler cannot be trained on"),
    ],
)
def test_a_damaged_schedule_of_a_start_is_refused_in_one_sentence(change, said):
    with pytest.raises(ValueError, match=said):
        process_of(process_config(DiffusionConfig("epsilon", "linear").schedule | change).schedule)


def test_a_schedule_without_a_prediction_type_is_one_of_noise_as_in_diffusers():
    schedule = {name: value for name, value in DiffusionConfig().schedule.items() if name != "prediction_type"}
    clean, noise = torch.zeros(1, 2, 2), torch.ones(1, 2, 2)
    process = process_of(process_config(schedule).schedule)
    assert torch.equal(process.target(clean, noise, torch.tensor([50])), noise)

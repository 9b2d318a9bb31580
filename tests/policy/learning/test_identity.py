"""The identity of a training on disk, and the conditions for continuing it."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from paradp.policy.data.demonstrations import Demonstrations
from paradp.policy.errors import SettingError
from paradp.policy.learning.arithmetic import Arithmetic
from paradp.policy.learning.config import TrainingConfig
from paradp.policy.learning.identity import TrainingIdentity
from paradp.policy.learning.state import Noted, RunningMean, StateFile
from paradp.policy.networks.transformer_config import TransformerConfig
from paradp.policy.networks.unet_config import UnetConfig

STORED = Path(__file__).parents[2] / "data" / "behaviour"
OUT = Path("run")


def noted(identity: TrainingIdentity, bf16: bool = False) -> Noted:
    """The identity in the form stored on disk."""
    return Noted(json.loads(json.dumps(identity.document())), Arithmetic(bf16, "as asked for"), 1, RunningMean())


@pytest.fixture
def identity(info) -> TrainingIdentity:
    return TrainingIdentity(TrainingConfig(), info, "d" * 64, None)


def test_a_stored_training_has_the_current_identity():
    config = TrainingConfig(
        20, 8, log_every=1, save_every=10, validation_every=2, network=TransformerConfig(layers=1, embedding=8)
    )
    here = TrainingIdentity.of(config, Demonstrations.open(STORED / "demonstrations.zarr"), None)
    there = StateFile(STORED / "training" / "state.safetensors").noted()
    # That state notes settings of parts that it does not have, too.
    assert here.document() == {name: there.identity[name] for name in here.document()}
    here.check(there, OUT)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"init": "e" * 64}, "init: None there, eeeeeeeeeeee… here"),
        ({"data": "e" * 64}, "data: dddddddddddd… there, eeeeeeeeeeee… here"),
        ({"config": TrainingConfig(network=UnetConfig(groups=4))}, "groups: 8 there, 4 here"),
        ({"config": TrainingConfig(observation_scaling="mean-std")}, "observation_scaling: min-max there, mean-std here"),
        ({"config": TrainingConfig(bf16=True)}, "bf16: False there, True here"),
    ],
)
def test_another_training_is_refused(identity, change, message):
    identity.check(noted(identity), OUT)
    with pytest.raises(SettingError, match=rf"^run holds a run with .* or other data \({message}\); choose another --out"):
        replace(identity, **change).check(noted(identity), OUT)


def test_settings_stored_only_if_not_default_are_compared_in_both_directions(identity):
    """Otherwise a setting that only the stored state has would not be compared."""
    other = replace(identity, config=TrainingConfig(network=UnetConfig(groups=4)))
    assert "groups" not in identity.document() and other.document()["groups"] == 4
    with pytest.raises(SettingError, match=r"\(groups: 4 there, 8 here\)"):
        identity.check(noted(other), OUT)


def test_the_origin_of_demonstrations_and_an_automatic_arithmetic_are_not_compared(identity, info):
    identity.check(noted(identity, bf16=True), OUT)
    replace(identity, demonstrations=replace(info, made_with={"copied": True})).check(noted(identity), OUT)

"""Sentences name options as they are typed, whichever check of ours finds the mistake."""

import inspect
import sys
from dataclasses import fields
from importlib import import_module

import pytest

from paradp.policy.errors import SettingError
from paradp.policy.identity import check_same
from paradp.policy.learning.config import _LIMITS, DistillationConfig, TrainingConfig
from paradp.policy.serving import ServerConfig
from paradp.policy.spec import Horizons
from paradp.rollouts.episodes.config import RolloutConfig
from paradp.sampler import SamplerChoice
from paradp.scripts import call
from paradp.scripts import main as entry
from paradp.scripts.evaluate import evaluate
from paradp.scripts.rollout import rollout
from paradp.scripts.serve import serve
from paradp.scripts.train import train

NOT_NUMBERS = (float("nan"), float("inf"), -float("inf"), 2.5, "3", None)


@pytest.fixture
def said(monkeypatch, capsys):
    """What a command says that must refuse what is typed."""

    def run(*arguments: str) -> str:
        monkeypatch.setattr(sys, "argv", ["paradp", *arguments])
        with pytest.raises(SystemExit) as ended:
            entry.main()
        [sentence] = capsys.readouterr().err.strip().splitlines()
        assert ended.value.code == 2
        return sentence

    return run


@pytest.mark.parametrize("name", _LIMITS)
def test_a_setting_of_a_training_is_named_as_its_option(said, name):
    option = f"--{name.replace('_', '-')}"
    of_training = name in {field.name for field in fields(TrainingConfig)}
    command = ("train", "lift") if of_training else ("distill", "lift")
    assert said(*command, f"{option}=-1").startswith(f"paradp: {option} must be from ")
    with pytest.raises(SettingError, match=f"^{name} must be from "):
        (TrainingConfig if of_training else DistillationConfig)(**{name: -1})


@pytest.mark.parametrize(
    ("typed", "sentence"),
    [
        (["--channels", "8", "-3"], "paradp: --channels must be positive numbers, not (8, -3)"),
        (
            ["--beta-schedule=linear", "--beta-end=2"],
            "paradp: 0 < --beta-start ≤ --beta-end < 1 is needed, not 0.001 and 2.0",
        ),
        (["--learning-rate=0"], "paradp: --learning-rate must be more than 0, not 0.0"),
    ],
)
def test_settings_that_do_not_fit_each_other(said, typed, sentence):
    assert said("train", "lift", *typed) == sentence


def test_a_description_that_differs_names_options():
    there, here = {"batch_size": 8, "seed": 0, "network": "unet"}, {"batch_size": 16, "seed": 1, "network": "unet"}
    with pytest.raises(SettingError) as refused:
        check_same(there, here, "runs/seed/batch_size holds a run with another seed")
    assert str(refused.value) == (
        "runs/seed/batch_size holds a run with another seed (batch_size: 8 there, 16 here; seed: 0 there, 1 here);"
        " choose another --out"
    )
    assert call.as_typed(refused.value, call.options(train)) == (
        "runs/seed/batch_size holds a run with another seed (--batch-size: 8 there, 16 here; --seed: 0 there, 1 here);"
        " choose another --out"
    )


@pytest.mark.parametrize(
    ("command", "names"),
    [
        (train, {"batch_size": "--batch-size", "no_bf16": "--no-bf16", "task": None}),
        (rollout, {"max_steps": "--max-steps", "threads": None, "task": None}),
        (evaluate, {"threads": "--threads", "samplers": "--samplers", "task": None}),
        (serve, {"max_message_kib": "--max-message-kib", "checkpoint": None}),
    ],
)
def test_a_command_knows_its_options(command, names):
    known = call.options(command)
    assert {name: known.get(name) for name in names} == names


@pytest.mark.parametrize("command", entry.COMMANDS)
def test_whatever_a_command_raises_of_its_settings_is_translated(monkeypatch, command):
    """Whoever raises it, in whatever depth."""
    function = getattr(import_module(f"paradp.scripts.{entry.COMMANDS[command].module}"), entry.COMMANDS[command].function)
    known = call.options(function)

    def fails(**_: object) -> None:
        raise SettingError("; ".join(f"{name} must be another" for name in known), *known)

    fails.__annotations__, fails.__signature__ = function.__annotations__, inspect.signature(function)
    required = {name: "x" for name, p in inspect.signature(function).parameters.items() if p.default is p.empty}
    monkeypatch.setattr(call, "_check", lambda *_: None)
    with pytest.raises(ValueError) as refused:
        call.checked(fails)(**required)
    assert str(refused.value) == "; ".join(f"{option} must be another" for option in known.values())


@pytest.mark.parametrize("value", NOT_NUMBERS)
@pytest.mark.parametrize("name", ["port", "most_clients", "most_together", "most_waiting", "most_bytes"])
def test_a_server_takes_whole_numbers_alone(name, value):
    with pytest.raises(ValueError, match=f"^{name} must be a whole number from "):
        ServerConfig(**{name: value})
    with pytest.raises(ValueError, match=f"^{name} must be from "):
        ServerConfig(**{name: -1})


@pytest.mark.parametrize("value", NOT_NUMBERS[:4])
@pytest.mark.parametrize("name", ["episodes", "seed", "envs", "threads", "videos", "max_steps"])
def test_a_run_takes_whole_numbers_alone(tmp_path, name, value):
    with pytest.raises(ValueError, match=f"^{name} must be a whole number from "):
        RolloutConfig("lift", SamplerChoice.parse("ddim-3"), tmp_path, **{name: value})


@pytest.mark.parametrize("value", NOT_NUMBERS[:3])
@pytest.mark.parametrize("name", ["observe", "predict", "execute"])
def test_horizons_are_whole_numbers(name, value):
    with pytest.raises(ValueError):
        Horizons(**{name: value})

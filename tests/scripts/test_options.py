"""Error messages name options as they are typed, whichever check finds the mistake."""

import inspect
import sys
from dataclasses import dataclass, field, fields, is_dataclass, make_dataclass
from importlib import import_module
from typing import Literal, get_type_hints

import pytest
import tyro

from paradp.policy.computing import Computing
from paradp.policy.errors import SettingError
from paradp.policy.horizons import Horizons
from paradp.policy.identity import check_same
from paradp.policy.learning.config import DistillationConfig, TrainingConfig
from paradp.policy.networks.network_config import NetworkConfig
from paradp.policy.networks.transformer_config import TransformerConfig
from paradp.policy.networks.unet_config import UnetConfig
from paradp.policy.networks.vision.config import PixelsConfig, VisionConfig
from paradp.policy.process_config import DiffusionConfig, FlowConfig
from paradp.policy.serving import ServerConfig
from paradp.policy.settings import Limits, note_of, option_fields, setting, setting_fields
from paradp.rollouts.episodes.clocks import IDEAL, ClockChoice
from paradp.rollouts.episodes.config import RolloutConfig
from paradp.sampler import SamplerChoice
from paradp.sampler.lookup import note_renamed
from paradp.scripts import call
from paradp.scripts import main as entry
from paradp.scripts.drive import drive
from paradp.scripts.evaluate import evaluate
from paradp.scripts.rollout import rollout
from paradp.scripts.serve import serve
from paradp.scripts.train import Flags, train
from paradp.scripts.typed_settings import Typed, option_name, options_of

NOT_NUMBERS = (float("nan"), float("inf"), -float("inf"), 2.5, "3", None)


@pytest.fixture
def said(monkeypatch, capsys):
    """The error of a command that must refuse these arguments."""

    def run(*arguments: str) -> str:
        monkeypatch.setattr(sys, "argv", ["paradp", *arguments])
        with pytest.raises(SystemExit) as ended:
            entry.main()
        [sentence] = capsys.readouterr().err.strip().splitlines()
        assert ended.value.code == 2
        return sentence

    return run


NUMBERS = [
    (config, chosen, declared.name)
    for config, chosen in {
        DistillationConfig: ("distill", "lift"),
        TrainingConfig: ("train", "lift"),
        TransformerConfig: ("train", "lift", "--network", "transformer"),
        VisionConfig: ("train", "lift"),
    }.items()
    for declared in setting_fields(config)
    if note_of(declared).limits and note_of(declared).option and declared.default is not None  # None: of two numbers
]


@pytest.mark.parametrize(("config", "chosen", "name"), NUMBERS)
def test_an_error_names_a_setting_of_a_training_by_its_option(said, config, chosen, name):
    option = f"--{name.replace('_', '-')}"
    assert said(*chosen, f"{option}=-1").startswith(f"paradp: {option} must be from ")
    with pytest.raises(SettingError, match=f"^{name} must be from "):
        config(**{name: -1})


def typed(arguments: str, flags: type = Flags) -> object:
    """The config that a command makes from these options."""
    return tyro.cli(flags, args=arguments.split()).checked()


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        ("", {}),
        (
            "--channels 8,16 --prediction-type sample",
            {"network": UnetConfig(channels=(8, 16)), "process": DiffusionConfig("sample")},
        ),
        (
            "--network transformer --layers 4 --process flow",
            {"network": TransformerConfig(layers=4), "process": FlowConfig()},
        ),
        ("--beta-schedule linear --beta-end 0.3", {"process": DiffusionConfig("epsilon", "linear", None, 0.3)}),
        ("--steps 7 --network unet --layers None", {"steps": 7}),
        ("--observation-scaling mean-std", {"observation_scaling": "mean-std"}),
        ("--observe 1 --predict 32 --execute 24", {"observe": 1, "predict": 32, "execute": 24}),
        ("--vision pixels", {"vision": PixelsConfig()}),
        (
            "--backbone resnet34 --stem 16 --crop 84 80 --resize 96 90 --separate False",
            {"vision": VisionConfig("resnet", "resnet34", 16, crop=(84, 80), resize=(96, 90), separate=False)},
        ),
    ],
)
def test_options_make_the_parts_of_a_training(arguments, parts):
    assert typed(arguments) == TrainingConfig(**parts)


def test_an_older_option_is_accepted_with_a_note(caplog):
    note_renamed.cache_clear()

    def command(blending: str = "replace", count: int = 1) -> None:
        given.append(blending)

    given: list[str] = []
    for arguments in (["--joining", "blend"], ["--joining=inpaint"], ["--blending", "blend"]):
        call.call(command, "paradp", arguments)
    assert given == ["blend", "inpaint", "blend"] and caplog.messages == ["--joining is now --blending"]
    assert "--blending" in call.options(drive).values()


def test_an_older_option_is_unknown_to_commands_without_it():
    def command(count: int = 1) -> None: ...

    with pytest.raises(ValueError, match="there is no option --joining; see paradp --help"):
        call.call(command, "paradp", ["--joining", "blend"])


def test_the_older_spelling_of_a_flow_is_accepted(caplog):
    note_renamed.cache_clear()
    assert typed("--prediction-type flow_prediction") == TrainingConfig(process=FlowConfig())
    assert "prediction_type flow_prediction is now --process flow" in caplog.text


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ("--network transformer --channels 8", "channels is a setting of the network unet"),
        ("--vision pixels --stem 16", "stem is a setting of the vision resnet"),
        ("--layers 2", "layers is a setting of the network transformer"),
        ("--process flow --prediction-type sample", "prediction_type is a setting of the process diffusion"),
        ("--prediction-type flow_prediction --beta-schedule linear", "beta_schedule is a setting of the process diffusion"),
        ("--process flow --beta-end 0.5", "beta_end is a setting of a beta_schedule such as linear"),
        ("--beta-start 0.001", "beta_start is a setting of a beta_schedule such as linear"),
    ],
)
def test_an_option_of_another_part_is_refused(arguments, sentence):
    with pytest.raises(SettingError, match=f"^{sentence}, which this training does not have$"):
        typed(arguments)


@dataclass(frozen=True)
class MixerConfig(NetworkConfig):
    """A third network, known only by its settings.

    Attributes:
        width: how wide it is.
        layers: how many there are.
    """

    kind: Literal["mixer"] = "mixer"
    width: int = setting(32, Limits(1, 99))
    layers: int = 2
    hidden: int = setting(1, option=False)

    def describe(self) -> str:
        return "a mixer"

    def build(self, spec: object) -> object:
        raise NotImplementedError


Mixing = make_dataclass(
    "Mixing",
    [("network", UnetConfig | TransformerConfig | MixerConfig, field(default=UnetConfig()))],
    bases=(TrainingConfig,),
    frozen=True,
)


@options_of(Mixing)
class MixingFlags(Typed[TrainingConfig]):
    pass


def test_the_settings_of_another_network_become_options(capsys):
    with pytest.raises(SystemExit):
        typed("--help", MixingFlags)
    shown = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "--network {unet,transformer,mixer}" in shown
    assert "how wide it is. (network mixer, default: 32)" in shown
    assert "(network transformer, default: 8; network mixer, default: 2)" in shown and "--hidden" not in shown
    assert typed("--network mixer --width 7 --layers 3", MixingFlags).network == MixerConfig(width=7, layers=3)
    for arguments, sentence in {
        "--width 7": "width is a setting of the network mixer, which this training does not have",
        "--layers 7": "layers is a setting of the network transformer or mixer, which this training does not have",
        "--network mixer --width 100": "width must be from 1 to 99, not 100",
    }.items():
        with pytest.raises(SettingError, match=f"^{sentence}$"):
            typed(arguments, MixingFlags)


@pytest.mark.parametrize(
    ("typed", "sentence"),
    [
        (["--channels", "8", "-3"], "paradp: --channels must be positive numbers, not (8, -3)"),
        (
            ["--beta-schedule=linear", "--beta-end=2"],
            "paradp: 0 < --beta-start ≤ --beta-end < 1 is needed, not 0.001 and 2.0",
        ),
        (["--stem=24"], "paradp: --stem must be a multiple of 16, not 24"),
        (["--crop", "84", "0"], "paradp: --crop must be from 1 to 4096, not 0"),
        (["--learning-rate=0"], "paradp: --learning-rate must be more than 0, not 0.0"),
    ],
)
def test_settings_that_do_not_fit_each_other(said, typed, sentence):
    assert said("train", "lift", *typed) == sentence


def test_an_error_of_different_demonstrations_names_options():
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
def test_every_error_of_a_setting_names_its_option(monkeypatch, command):
    """For errors raised at any depth."""
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


# Config → a command that takes it, and the settings that it gives by itself, with the reason.
TAKEN = {
    ("train", TrainingConfig): set(),
    ("distill", DistillationConfig): set(),
    ("serve", ServerConfig): set(),
    ("serve", Computing): set(),
    ("fidelity", Computing): set(),
    ("bench", Computing): {"engine", "precision"},  # of several, which are compared
    ("drive", Computing): set(),
    ("rollout", RolloutConfig): {"threads"},  # the cores, shared out among the workers
    ("evaluate", RolloutConfig): {"videos"},  # the report has film strips of its own
}


def options_typed(command: str) -> list[str]:
    """The options of a command: each parameter, and each field of those that are dataclasses."""
    function = getattr(import_module(f"paradp.scripts.{entry.COMMANDS[command].module}"), entry.COMMANDS[command].function)
    found = []
    for name, hint in get_type_hints(function).items():
        found += [one.name for one in fields(hint)] if is_dataclass(hint) else [name]
    return found


@pytest.mark.parametrize(("command", "config"), TAKEN)
def test_every_setting_of_a_config_is_one_option(command, config):
    options, wanted = options_typed(command), [option_name(declared) for declared in option_fields(config)]
    assert {name for name in wanted if name not in options} == TAKEN[command, config]
    assert len(options) == len(set(options))


@dataclass(frozen=True)
class Slower(Computing):
    """Computing in a hurry.

    Attributes:
        pause: seconds between two plans.
    """

    task: str
    pause: float = setting(0.5, Limits(0.0, 9.0))
    clock: ClockChoice = IDEAL
    secret: int = setting(1, option=False)


@options_of(Slower, without=("engine",), defaults={"pause": 2.0})
class SlowerFlags(Typed[Slower]):
    """What is typed.

    Attributes:
        threads: as few as can be.
    """


def test_options_are_made_of_any_config(capsys):
    def slow(flags: tyro.conf.OmitArgPrefixes[SlowerFlags] = SlowerFlags()) -> None:  # noqa: B008
        """Takes its time."""
        made.append(flags.checked(task="lift", engine="eager"))

    made: list[Slower] = []
    call.call(slow, "slow", ["--threads", "3", "--clock", "fixed:200"])
    call.call(slow, "slow", ["--pause", "1"])
    assert made == [
        Slower("lift", 2.0, ClockChoice.parse("fixed:200"), engine="eager", threads=3),
        Slower("lift", 1.0, engine="eager"),
    ]
    for typed, sentence in {
        "--pause=-1": "^--pause must be at least 0, not -1.0$",
        "--threads=0": "^--threads must be at least 1, not 0$",
        "--clock=late": "^unknown clock 'late'",
    }.items():
        with pytest.raises(ValueError, match=sentence):
            call.call(slow, "slow", [typed])
    with pytest.raises(SystemExit):
        call.call(slow, "slow", ["--help"])
    shown = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "seconds between two plans. (default: 2.0)" in shown and "as few as can be. (default: None)" in shown
    assert "--engine" not in shown and "--secret" not in shown and "--task" not in shown


@pytest.mark.parametrize("value", NOT_NUMBERS)
@pytest.mark.parametrize("name", ["port", "most_clients", "most_together", "most_waiting", "most_bytes"])
def test_a_server_takes_integers_only(name, value):
    if value is None and name == "most_bytes":
        return  # as many as its policy needs
    with pytest.raises(ValueError, match=f"^{name} must be a whole number from "):
        ServerConfig(**{name: value})
    with pytest.raises(ValueError, match=f"^{name} must be from "):
        ServerConfig(**{name: -1})


@pytest.mark.parametrize("value", NOT_NUMBERS[:4])
@pytest.mark.parametrize("name", ["episodes", "seed", "envs", "threads", "videos", "max_steps"])
def test_a_run_takes_integers_only(tmp_path, name, value):
    with pytest.raises(ValueError, match=f"^{name} must be a whole number from "):
        RolloutConfig("lift", SamplerChoice.parse("ddim-3"), tmp_path, **{name: value})


@pytest.mark.parametrize("value", NOT_NUMBERS[:3])
@pytest.mark.parametrize("name", ["observe", "predict", "execute"])
def test_horizons_are_integers(name, value):
    with pytest.raises(ValueError):
        Horizons(**{name: value})

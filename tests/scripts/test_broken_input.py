"""Every command with every kind of broken input: exit code 2, one sentence that names the problem, and no changes."""

import hashlib
import json
import os
import pickle
import shutil
import signal
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from vectors import scaled

from paradp.checkpoints import find_checkpoint, read_info, save_checkpoint
from paradp.policy import Normalizer, UnetConfig
from paradp.policy.data.demonstrations import Demonstrations
from paradp.policy.data.episode import DemonstrationEpisode
from paradp.policy.learning.training import TrainedPolicy
from paradp.policy.networks.building import build_network
from paradp.rollouts.collect import DEFAULT_ACTION_NOISE, describe
from paradp.scripts.main import main

DEEP = "[" * 100_000
# What every input below is called in the sentence that refuses it.
NAME = "broken"


# --- sound inputs, to be broken ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sound(tmp_path_factory) -> Path:
    """Valid inputs: a small policy of PushT, demonstrations, a recording."""
    folder = tmp_path_factory.mktemp("sound")
    spec = read_info(find_checkpoint("pusht")).spec
    spec = replace(spec, network=UnetConfig(channels=(8, 16), timestep_embedding=16))
    scales = scaled(spec), Normalizer(torch.zeros(spec.action_size), torch.ones(spec.action_size))
    save_checkpoint(TrainedPolicy(spec, build_network(spec).eval(), *scales), folder / "checkpoint", "a card")
    made = Demonstrations.open_or_create(folder / "demos.zarr", describe("pusht", "position", DEFAULT_ACTION_NOISE, 0))
    for seed in range(2):
        values = np.full((20, 2), seed, np.float32)
        observed = {"agent_pos": values, "block_keypoints": np.zeros((20, 16), np.float32)}
        made.append(DemonstrationEpisode(observed, values, values, seed))
    with h5py.File(folder / "recorded.hdf5", "w") as file:
        file.create_group("data").attrs["env_args"] = json.dumps({"env_name": "Lift", "type": 1, "env_kwargs": {}})
        file["data/demo_0/actions"] = np.zeros((9, 7))
    (folder / "latencies.txt").write_text("20\n30\n")
    return folder


@pytest.fixture
def place(tmp_path, monkeypatch) -> Path:
    """Where a command runs."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


# --- ways to break them -----------------------------------------------------------------------------------------------

Break = Callable[[Path, Path], None]


def nothing(sound: Path, path: Path) -> None:
    """Removes the input."""


def empty_folder(sound: Path, path: Path) -> None:
    path.mkdir()


def empty_file(sound: Path, path: Path) -> None:
    path.touch()


def text_file(sound: Path, path: Path) -> None:
    path.write_text("no numbers\n")


def noise(sound: Path, path: Path) -> None:
    path.write_bytes(np.random.default_rng(0).bytes(5000))


def pipe(sound: Path, path: Path) -> None:
    """A pipe: opening it waits for ever."""
    os.mkfifo(path)


def pickled(sound: Path, path: Path) -> None:
    """A pickled file, like Diffusion Policy's .ckpt."""
    path.write_bytes(pickle.dumps({"state_dicts": {}}))


def lerobot_data(sound: Path, path: Path) -> None:
    (path / "meta").mkdir(parents=True)
    (path / "meta/info.json").write_text('{"codebase_version": "v2.1", "total_episodes": 1, "fps": 10}')
    (path / "data/chunk-000").mkdir(parents=True)
    (path / "data/chunk-000/episode_000000.parquet").write_bytes(b"PAR1PAR1")


def lerobot_policy(sound: Path, path: Path) -> None:
    path.mkdir()
    (path / "config.json").write_text('{"type": "diffusion", "n_obs_steps": 2, "horizon": 16}')
    (path / "model.safetensors").write_bytes(b"\x02\0\0\0\0\0\0\0{}")
    (path / "train_config.json").write_text("{}")


def _checkpoint_with(file: str, change: Callable[[bytes], bytes]) -> Break:
    def make(sound: Path, path: Path) -> None:
        shutil.copytree(sound / "checkpoint", path)
        (path / file).write_bytes(change((path / file).read_bytes()))

    return make


def _with(*keys: str | int, value: object) -> Callable[[bytes], bytes]:
    """A JSON file with another value in one place."""

    def change(content: bytes) -> bytes:
        top = inner = json.loads(content)
        for key in keys[:-1]:
            inner = inner[key]
        inner[keys[-1]] = value
        return json.dumps(top).encode()

    return change


def _matching_weights(sound: Path, path: Path) -> None:
    """A file that is not weights, with the right digest."""
    shutil.copytree(sound / "checkpoint", path)
    (path / "model.safetensors").write_bytes(b"\xff" * 100)
    digest = hashlib.sha256(b"\xff" * 100).hexdigest()
    (path / "config.json").write_bytes(_with("model_sha256", value=digest)((path / "config.json").read_bytes()))


NO_CHECKPOINT: dict[str, Break] = {
    "missing": nothing,
    "an empty folder": empty_folder,
    "an empty file": empty_file,
    "a file": text_file,
    "a .ckpt": pickled,
    "a policy of LeRobot": lerobot_policy,
    "demonstrations of LeRobot": lerobot_data,
    "config.json empty": _checkpoint_with("config.json", lambda _: b""),
    "config.json cut short": _checkpoint_with("config.json", lambda content: content[:200]),
    "config.json a list": _checkpoint_with("config.json", lambda _: b"[]"),
    "config.json nested": _checkpoint_with("config.json", lambda _: DEEP.encode()),
    "config.json without a spec": _checkpoint_with("config.json", lambda _: b"{}"),
    "a channel of a million": _checkpoint_with("config.json", _with("spec", "network", "channels", value=[10**6, 8])),
    "a horizon of a billion": _checkpoint_with("config.json", _with("spec", "horizons", "predict", value=10**9)),
    "1e8 timesteps": _checkpoint_with("config.json", _with("spec", "schedule", "num_train_timesteps", value=10**8)),
    "groups of -1": _checkpoint_with("config.json", _with("spec", "network", "groups", value=-1)),
    "limits that are not finite": _checkpoint_with("config.json", _with("spec", "action_low", value=[float("nan"), 0])),
    "0 Hz": _checkpoint_with("config.json", _with("spec", "control_hz", value=0)),
}
NO_WEIGHTS: dict[str, Break] = {
    "weights cut short": _checkpoint_with("model.safetensors", lambda content: content[:-10]),
    "weights that are none": _matching_weights,
    "statistics cut short": _checkpoint_with("statistics.json", lambda content: content[:20]),
    "statistics not finite": _checkpoint_with("statistics.json", _with("action_scale", 0, value=float("inf"))),
    "statistics a list": _checkpoint_with("statistics.json", lambda _: b"[]"),
}


def _demonstrations_with(change: Callable[[Path], None]) -> Break:
    def make(sound: Path, path: Path) -> None:
        shutil.copytree(sound / "demos.zarr", path)
        change(path)

    return make


def _edit(file: str, change: Callable[[bytes], bytes]) -> Break:
    return _demonstrations_with(lambda path: (path / file).write_bytes(change((path / file).read_bytes())) and None)


def _spoil_chunk(path: Path) -> None:
    chunk = next(p for p in (path / "data/action").rglob("*") if p.is_file() and p.name != "zarr.json")
    chunk.write_bytes(b"garbage")


def _link_chunk(path: Path) -> None:
    chunk = next(p for p in (path / "data/action").rglob("*") if p.is_file() and p.name != "zarr.json")
    chunk.unlink()
    chunk.symlink_to("/etc/passwd")


NO_DEMONSTRATIONS: dict[str, Break] = {
    "missing": nothing,
    "an empty folder": empty_folder,
    "demonstrations of LeRobot": lerobot_data,
    "a checkpoint": lambda sound, path: shutil.copytree(sound / "checkpoint", path) and None,
    "a description that is a list": _edit("zarr.json", lambda _: b"[]"),
    "a description cut short": _edit("zarr.json", lambda content: content[:50]),
    "a description nested": _edit("zarr.json", lambda _: DEEP.encode()),
    "an observation far too wide": _edit("zarr.json", _with("attributes", "observation", value={"agent_pos": 10**9})),
    "an array missing": _demonstrations_with(lambda path: shutil.rmtree(path / "data/action")),
    "a chunk spoilt": _demonstrations_with(_spoil_chunk),
    "a chunk that is a link": _demonstrations_with(_link_chunk),
    "6e8 steps": _edit("data/action/zarr.json", _with("shape", value=[6 * 10**8, 2])),
    "a codec that unpickles": _edit("data/action/zarr.json", _with("codecs", value=[{"name": "numcodecs.pickle"}])),
    "no episodes": _edit("meta/episode_ends/zarr.json", _with("shape", value=[0])),
}
NO_RECORDING: dict[str, Break] = {
    "missing": nothing,
    "an empty file": empty_file,
    "text": text_file,
    "noise": noise,
    "a pipe": pipe,
    "a pickle": pickled,
    "cut short": lambda sound, path: path.write_bytes((sound / "recorded.hdf5").read_bytes()[:1500]) and None,
}
NO_LATENCIES: dict[str, Break] = {
    "missing": nothing,
    "a folder": empty_folder,
    "an empty file": empty_file,
    "text": text_file,
    "noise": noise,
    "negative": lambda sound, path: path.write_text("-20\n") and None,
    "not finite": lambda sound, path: path.write_text("nan\n") and None,
}
# --- commands ---------------------------------------------------------------------------------------------------------

# Whatever is missed ends soon: two steps of one episode.
SMALL = "--sampler ddim-2 --engine eager --episodes 1 --max-steps 2 --videos 0"
GRID = "--samplers ddim-2 --engine eager --episodes 1 --envs 1 --max-steps 2 --workers 1"
DRIVE = "--sampler ddim-2 --engine eager --plans thread --minutes 0.002"
TRAIN = "--steps 1 --batch-size 2 --channels 8 16 --no-bf16"

TAKES_A_POLICY = {
    "rollout": f"rollout pusht {SMALL} --checkpoint {NAME} --out out",
    "evaluate": f"evaluate pusht {GRID} --checkpoint {NAME} --out out",
    "drive": f"drive pusht {DRIVE} --checkpoint {NAME}",
    "serve": f"serve {NAME} --port 0 --sampler ddim-2 --engine eager",
    "bench": f"bench pusht --checkpoint {NAME} --engines eager --repeats 2",
    "draft train": f"draft train {NAME} --data {{sound}}/demos.zarr --minutes 0.001",
    "train --init": f"train pusht --data {{sound}}/demos.zarr --init {NAME} {TRAIN} --out out",
}
TAKES_A_DESCRIPTION = TAKES_A_POLICY | {
    "info": f"info --checkpoint {NAME}",
    "convert": f"convert {NAME} --to lerobot --out out",
    "release": f"release {NAME} --runs {NAME}",
}
TAKES_DEMONSTRATIONS = {
    "train": f"train pusht --data {NAME} {TRAIN} --out out",
    "data inspect": f"data inspect {NAME}",
    "data export": f"data export {NAME} --out out",
    "draft train": f"draft train {{sound}}/checkpoint --data {NAME} --minutes 0.001",
}
TAKES_A_RECORDING = {
    "data import": f"data import {NAME} --out out.zarr",
    "data inspect": f"data inspect {NAME}",
}
TAKES_LATENCIES = {
    "rollout": f"rollout pusht {SMALL} --checkpoint {{sound}}/checkpoint --clock replay:{NAME} --out out",
    "evaluate": f"evaluate pusht {GRID} --checkpoint {{sound}}/checkpoint --clock ideal replay:{NAME} --out out",
}
WRITES_A_FOLDER = {
    "rollout": f"rollout pusht {SMALL} --checkpoint {{sound}}/checkpoint --out {{out}}",
    "evaluate": f"evaluate pusht {GRID} --checkpoint {{sound}}/checkpoint --out {{out}}",
    "collect": "collect pusht --episodes 1 --workers 1 --out {out}",
    "train": f"train pusht --data {{sound}}/demos.zarr {TRAIN} --out {{out}}",
    "data import": "data import {sound}/recorded.hdf5 --out {out}",
    "data export": "data export {sound}/demos.zarr --out {out}",
    "drive": f"drive pusht {DRIVE} --checkpoint {{sound}}/checkpoint --out {{out}}",
    "bench": "bench pusht --checkpoint {sound}/checkpoint --engines eager --repeats 2 --out {out}",
    "study": "study experts pusht --out {out}",
    "convert": "convert {sound}/checkpoint --to lerobot --out {out}",
}
WRITES_A_FILE = {
    "bench --json": "bench pusht --checkpoint {sound}/checkpoint --engines eager --repeats 2 --json {out}",
    "evaluate --page": f"evaluate pusht {GRID} --checkpoint {{sound}}/checkpoint --out out --page {{out}}",
    "drive --trace": f"drive pusht {DRIVE} --checkpoint {{sound}}/checkpoint --trace {{out}}",
    "data inspect --plot": "data inspect {sound}/demos.zarr --plot {out}",
}
WRITES = WRITES_A_FOLDER | WRITES_A_FILE
# Of these --out is continued only where it is this very work.
CONTINUES = ("rollout", "evaluate", "collect", "data import", "data export")

# --- what must hold ---------------------------------------------------------------------------------------------------


@pytest.fixture
def refused(monkeypatch, capsys, sound, place):
    """Runs a command that must end in one sentence and change nothing."""

    def run(command: str, *named: str) -> str:
        before = _everything(place) | _everything(sound)
        monkeypatch.setattr(sys, "argv", ["paradp", *command.split()])
        with pytest.raises(SystemExit) as exit_, gives_up():
            main()
        said = capsys.readouterr().err.strip()
        assert exit_.value.code == 2, said
        assert said.startswith("paradp: ") and len(said.splitlines()) == 1 and "Traceback" not in said, said
        assert 20 < len(said) < 600 and not said.endswith((":", ",", "None")), said
        for name in named:
            assert name in said, f"{said!r} does not name {name!r}"
        assert _everything(place) | _everything(sound) == before
        return said

    return run


class GoesOn(BaseException):
    """Raised if a command continues, or waits for ever."""


@contextmanager
def gives_up(seconds: int = 30) -> Iterator[None]:
    def end(*_: object) -> None:
        raise GoesOn

    before = signal.signal(signal.SIGALRM, end)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def _everything(folder: Path) -> dict[str, tuple]:
    """Every path below a folder with its kind, size, time and content."""
    return {str(path): _state(path) for path in [folder, *_below(folder)]}


def _below(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if "__pycache__" not in path.parts)


def _state(path: Path) -> tuple:
    status = path.lstat()
    content = hashlib.sha256(path.read_bytes()).hexdigest() if stat.S_ISREG(status.st_mode) else ""
    return stat.S_IFMT(status.st_mode), status.st_size, status.st_mtime_ns, content


def product(commands: dict[str, str], *ways: dict[str, Break]) -> list:
    """All combinations of commands and ways to break their inputs."""
    return [
        pytest.param(command, make, id=f"{name}: {how}")
        for name, command in commands.items()
        for breaks in ways
        for how, make in breaks.items()
    ]


@pytest.mark.parametrize(("command", "make"), product(TAKES_A_DESCRIPTION, NO_CHECKPOINT))
def test_a_path_that_is_not_a_checkpoint_is_refused(refused, sound, command, make):
    make(sound, Path(NAME))
    refused(command.format(sound=sound), NAME)


@pytest.mark.parametrize(("command", "make"), product(TAKES_A_POLICY, NO_WEIGHTS))
def test_a_checkpoint_without_weights_is_refused(refused, sound, command, make):
    make(sound, Path(NAME))
    refused(command.format(sound=sound), NAME)


@pytest.mark.parametrize(
    ("command", "make"),
    [*product(TAKES_DEMONSTRATIONS, NO_DEMONSTRATIONS), *product({"train": TAKES_DEMONSTRATIONS["train"]}, NO_RECORDING)],
)
def test_a_path_without_demonstrations_is_refused(refused, sound, command, make):
    make(sound, Path(NAME))
    refused(command.format(sound=sound), NAME)


@pytest.mark.parametrize(("command", "make"), product(TAKES_A_RECORDING, NO_RECORDING))
def test_a_file_that_is_not_a_recording_is_refused(refused, sound, command, make):
    make(sound, Path(NAME))
    refused(command.format(sound=sound), NAME)


@pytest.mark.parametrize("make", [empty_folder, lerobot_data], ids=["an empty folder", "demonstrations of LeRobot"])
def test_a_folder_cannot_be_imported(refused, sound, make):
    make(sound, Path(NAME))
    refused(TAKES_A_RECORDING["data import"], NAME)


@pytest.mark.parametrize("suffix", [".txt", ".parquet"])
@pytest.mark.parametrize(("command", "make"), product(TAKES_LATENCIES, NO_LATENCIES))
def test_a_file_without_latencies_is_refused(refused, sound, command, make, suffix):
    make(sound, Path(NAME + suffix))
    refused(command.format(sound=sound).replace(f"replay:{NAME}", f"replay:{NAME}{suffix}"), NAME + suffix)


@pytest.mark.parametrize("command", WRITES.values(), ids=WRITES)
@pytest.mark.parametrize("out", ["file/out", "file/deep/er/out"])
def test_a_path_below_a_file_is_refused(refused, sound, command, out):
    Path("file").write_text("here already\n")
    refused(command.format(sound=sound, out=out), "file")


@pytest.mark.parametrize("command", WRITES.values(), ids=WRITES)
def test_a_file_system_that_accepts_no_files_is_refused(refused, sound, command):
    """Root cannot write there, either."""
    refused(command.format(sound=sound, out="/proc/out"), "/proc")


@pytest.mark.parametrize("command", WRITES_A_FOLDER.values(), ids=WRITES_A_FOLDER)
def test_a_file_in_place_of_a_folder_is_refused(refused, sound, command):
    Path(NAME).write_text("here already\n")
    refused(command.format(sound=sound, out=NAME), NAME)


@pytest.mark.parametrize("command", WRITES_A_FILE.values(), ids=WRITES_A_FILE)
def test_a_folder_in_place_of_a_file_is_refused(refused, sound, command):
    Path(NAME).mkdir()
    refused(command.format(sound=sound, out=NAME), NAME)


@pytest.mark.parametrize("name", CONTINUES)
def test_an_output_of_another_command_is_refused(refused, sound, name):
    Path(NAME).mkdir()
    Path(NAME, "thesis.tex").write_text("years of work\n")
    refused(WRITES_A_FOLDER[name].format(sound=sound, out=NAME), NAME)


DAMAGED = {
    "a list": "[]",
    "nested": DEEP,
    "cut short": '{"task": ',
    "empty": "",
    "a number": "7",
    "null": "null",
    "noise": "\0\0",
    "of another task": '{"task": "lift"}',
}


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED)
@pytest.mark.parametrize(("name", "marker"), [("rollout", "run.json"), ("evaluate", "evaluation.json")])
def test_an_output_with_a_damaged_description_is_refused(refused, sound, name, marker, content):
    Path(NAME).mkdir()
    Path(NAME, marker).write_text(content)
    refused(WRITES_A_FOLDER[name].format(sound=sound, out=NAME), NAME)


@pytest.mark.parametrize("content", [None, *DAMAGED.values()], ids=["missing", *DAMAGED])
def test_a_run_without_measurements_is_refused(refused, sound, content):
    Path(NAME).mkdir()
    if content is not None:
        Path(NAME, "summary.json").write_text(content)
    refused(f"release {sound}/checkpoint --runs {NAME}", NAME)


UNKNOWN_NAMES = {
    "rollout": "rollout pussht",
    "evaluate": "evaluate pussht",
    "drive": "drive pussht",
    "bench": "bench pussht",
    "collect": "collect pussht",
    "tasks": "tasks pussht",
    "study": "study agreement pussht",
    "data import": "data import {sound}/recorded.hdf5 --task pussht --out out.zarr",
}


@pytest.mark.parametrize("command", UNKNOWN_NAMES.values(), ids=UNKNOWN_NAMES)
def test_an_unknown_task_is_refused(refused, sound, command):
    refused(command.format(sound=sound), "'pussht'", "pusht")


@pytest.mark.parametrize(
    ("command", "named"),
    [
        (TAKES_A_POLICY["rollout"].replace("ddim-2", "dimm-2"), "dimm-2"),
        (TAKES_A_POLICY["evaluate"].replace("ddim-2", "ddpm,dimm-2"), "dimm-2"),
        (TAKES_A_POLICY["drive"].replace("ddim-2", "ddim-0"), "ddim-0"),
        (TAKES_A_POLICY["serve"].replace("ddim-2", "para-ddpm:window=x"), "window"),
        (TAKES_A_POLICY["rollout"] + " --disturbance flood", "flood"),
        (TAKES_A_POLICY["evaluate"] + " --disturbance none flood", "flood"),
        (TAKES_A_POLICY["drive"] + " --disturbance flood", "flood"),
        (TAKES_A_POLICY["rollout"] + " --device abacus", "abacus"),
        (TAKES_A_POLICY["serve"] + " --device abacus", "abacus"),
        (TAKES_A_POLICY["rollout"] + " --clock sundial", "sundial"),
        (TAKES_A_POLICY["evaluate"] + " --clock fixed:soon", "soon"),
        (TAKES_A_POLICY["evaluate"] + " --baseline best", "best"),
        ("collect pusht --action-convention delta --out out", "delta"),
        ("train lift --data {sound}/demos.zarr --out out", "pusht"),
        ("data import {sound}/recorded.hdf5 --mask nobody --out out.zarr", "nobody"),
        ("data inspect {sound}/recorded.hdf5 --actions deeds", "deeds"),
        (f"drive pusht --checkpoint {NAME} --server ws://127.0.0.1:1", "127.0.0.1:1"),
        (f"drive pusht --checkpoint {NAME} --server http://127.0.0.1:1", "127.0.0.1:1"),
    ],
)
def test_an_unknown_name_is_refused(refused, sound, command, named):
    shutil.copytree(sound / "checkpoint", NAME)
    refused(command.format(sound=sound), named)


WRONG_NUMBERS = {
    TAKES_A_POLICY["rollout"]: (
        *("--episodes 0", "--episodes 10000000000", "--envs -1", "--workers 0", "--workers -1", "--seed -1"),
        *("--videos -1", "--max-steps 0", "--execute 0", "--execute 99"),
    ),
    TAKES_A_POLICY["evaluate"]: (
        *("--episodes 0", "--envs 0", "--threads 0", "--workers -1", "--seed -1", "--max-steps 0", "--execute 99"),
    ),
    TAKES_A_POLICY["drive"]: (
        *("--minutes 0", "--minutes -1", "--minutes nan", "--budget-ms -1", "--budget-ms nan", "--dead-after 0"),
        *("--threads 0", "--seed -1", "--execute 99"),
    ),
    TAKES_A_POLICY["serve"]: (*("--port 70000", "--port -1", "--together 0", "--waiting 0", "--clients 0", "--threads 0"),),
    TAKES_A_POLICY["bench"]: ("--repeats 1", "--batch 0", "--threads 0", "--batch -1"),
    f"train pusht --data {{sound}}/demos.zarr {TRAIN} --out out": (
        *("--steps 0", "--batch-size -1", "--learning-rate nan", "--channels 0 8", "--channels 1000000000 8"),
        *("--save-every 0", "--validation-every 1", "--beta-end 2", "--seed -1", "--warmup-steps -1"),
    ),
    "collect pusht --out out": ("--episodes 0", "--episodes -3", "--workers 0", "--seed -1"),
    "data inspect {sound}/demos.zarr": ("--episodes 0",),
}


def _numbers() -> list:
    return [
        pytest.param(f"{command} {option}", option, id=f"{command.split()[0]} {option}")
        for command, options in WRONG_NUMBERS.items()
        for option in options
    ]


@pytest.mark.parametrize(("command", "option"), _numbers())
def test_an_invalid_number_is_refused(refused, sound, command, option):
    shutil.copytree(sound / "checkpoint", NAME)
    refused(command.format(sound=sound), f"{option.split()[0]} ")


UNREADABLE = {
    "no number": "rollout pusht --episodes many",
    "no such option": "rollout pusht --epsiodes 3",
    "no value": "collect pusht --out",
    "no task": "rollout",
    "no file": "data import",
    "no such engine": "bench pusht --engines abacus",
    "no such controller": "rollout pusht --controller dreamer",
    "no such study": "study astrology",
    "no such backend": "evaluate pusht --backend cloud",
    "no command": "fly pusht",
    "no command of data": "data burn x",
}


@pytest.mark.parametrize("arguments", UNREADABLE.values(), ids=UNREADABLE)
def test_arguments_that_cannot_be_parsed_are_refused(monkeypatch, capsys, place, arguments):
    """tyro prints its own box with the error."""
    monkeypatch.setattr(sys, "argv", ["paradp", *arguments.split()])
    with pytest.raises(SystemExit) as exit_:
        main()
    said = capsys.readouterr().err
    assert exit_.value.code == 2 and said.strip() and "Traceback" not in said and "__tyro" not in said, said
    assert list(_below(place)) == []

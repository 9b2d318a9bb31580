"""The command line before anything heavy is imported: imports, immediate errors, and help."""

import ast
import inspect
import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import is_dataclass
from importlib import import_module
from pathlib import Path
from typing import get_args, get_type_hints

import pytest

from paradp.sampler.families import KINDS, WAYS
from paradp.scripts import console
from paradp.scripts import main as entry
from paradp.scripts.bench import Numbers
from paradp.scripts.call import _limits, call, description
from paradp.scripts.console import Lines
from paradp.scripts.evaluate import Controllers
from paradp.scripts.interrupts import CONTINUES
from paradp.scripts.lists import Clocks, Words, clocks, joined, words
from paradp.scripts.places import default_out

ROOT = Path(__file__).parents[2]
HEAVY = (
    "torch",
    "diffusers",
    "openvino",
    "robosuite",
    "mujoco",
    "pandas",
    "matplotlib",
    "zarr",
    "h5py",
    "numba",
    "pydantic",
)
RUN = "from paradp.scripts.main import main; main()"


def command(name: str):
    return getattr(import_module(f"paradp.scripts.{entry.COMMANDS[name].module}"), entry.COMMANDS[name].function)


# Each is given a folder or a file below /proc, which takes none, not even from root.
UNWRITABLE = (
    "rollout lift --out",
    "evaluate lift --out",
    "bench lift --out",
    "bench lift --json",
    "drive lift --out",
    "drive lift --trace",
    "study spread lift --out",
    "collect lift --out",
    "data import pyproject.toml --out",
    "convert lift --to lerobot --out",
)
MISTAKES_AND_QUESTIONS = [
    ([], 2, "rollout"),
    (["--help"], 0, "rollout"),
    (["roll"], 2, "did you mean 'rollout'"),
    (["eval"], 2, "did you mean 'evaluate'"),
    (["data"], 2, "data import"),
    (["data", "imp"], 2, "did you mean 'data import'"),
    (["tasks"], 0, "square"),
    (["info"], 0, "para-ddpm"),
    (["rollout", "sqare"], 2, "did you mean 'square'"),
    (["rollout", "pusht-state"], 2, "without weights: get demonstrations (`paradp collect pusht-state`)"),
    (["rollout", "lift", "--sampler", "dimm-5"], 2, "unknown sampler"),
    *(
        ([*words.split()], 2, f"paradp: {sentence} paradp {words.split()[0]} --help\n")
        for words, sentence in {
            "rollout lift --epsodes 3": "there is no option --epsodes — did you mean --episodes? See",
            "rollout lift --foo": "there is no option --foo; see",
            "rollout lift can": "nothing takes 'can': remove it, or write the option before it; see",
            "rollout --episodes 3": "TASK is missing; see",
            "rollout --epsodes 3": "TASK is missing; see",
            "convert": "SOURCE and --out are missing; see",
            "rollout lift --out": "--out needs a value; see",
            "rollout lift --seed x": "--seed: 'x' is not a whole number; see",
            "rollout lift --window x": "--window: 'x' is not a whole number; see",
            "rollout lift --tolerance x": "--tolerance: 'x' is not a number; see",
            "bench lift --engines foo": ("--engines: 'foo' is none of auto, eager, compiled, openvino, cuda-graph; see"),
            "evaluate lift --controller Sync": (
                "--controller: 'Sync' is none of sync, ahead, ahead-blend, ahead-inpaint; see"
            ),
            "drive lift --late foo": "--late: 'foo' is none of hold, continue-chunk, stop; see",
            "info kitchen": "what: 'kitchen' is none of all, samplers; see",
        }.items()
    ),
    (["rollout", "--sampler", "ddim-10", "ddmp", "lift"], 2, "unknown sampler 'ddmp' — did you mean 'ddpm"),
    (["evaluate", "lift", "--samplers", "auto", "foo", "ddpm"], 2, "unknown sampler 'foo'"),
    (["rollout", "--sampler", "ddim-10", "kitchn"], 2, "unknown task 'kitchn' — did you mean 'kitchen'"),
    (["rollout", "Lift"], 2, "did you mean 'lift'"),
    (["rollout", "--sampler", "ddim-10", "LIFT"], 2, "unknown task 'LIFT' — did you mean 'lift'"),
    (["rollout", "--sampler", "ddim-10", "libero-10"], 2, "unknown task 'libero-10'"),
    (["rollout", "lift", "--run", "x"], 2, "there is no option --run — did you mean --rerun?"),
    (["rollout", "lift", "--no-liv"], 2, "there is no option --no-liv;"),
    *(
        ([command, "lift", "--sampler", "ddpm", "auto"], 2, "--sampler takes one sampler, not 'ddpm,auto'")
        for command in ("drive", "serve")
    ),
    (["convert", "lift", "--to", "lerobot", "--out", "x", "--sampler", "ddpm,auto"], 2, "--sampler takes one sampler"),
    *(
        (
            [*command.split(), "speculative-ddim-10"],
            2,
            "needs steps that add noise, eta > 0: write speculative-ddim-10:eta=1, or ddim-10\n",
        )
        for command in ("rollout lift --sampler", "evaluate lift --samplers", "drive lift --sampler", "serve lift --sampler")
    ),
    (["serve", "lift", "--sampler", "speculative-sde-dpm-solver-8:eta=0"], 2, "-8:eta=1, or sde-dpm-solver-8:eta=0.0\n"),
    (["train", "lift", "--data", "x.hdf5"], 2, "paradp data import x.hdf5"),
    *(
        ([*words.split()], 2, "docs holds none of: demonstrations of paradp (zarr 3), a LeRobotDataset, a zarr of Diffusion")
        for words in ("train lift --data docs", "bench lift --data docs", "data inspect docs", "data import docs --out x")
    ),
    (
        ["data", "inspect", "tests/data/robosuite_human"],
        2,
        "a data set of Minari; name the HDF5 file, such as tests/data/robosuite_human/",
    ),
    (["train", "lift", "--steps", "0"], 2, "--steps must be"),
    *(
        ([command, "lift", "--device", "cuda:77"], 2, "not available")
        for command in ("rollout", "evaluate", "bench", "serve", "drive")
    ),
    (["drive", "lift", "--server", "ws://127.0.0.1:9", "--sampler", "ddpm"], 2, "made on the server: set --sampler there"),
    (
        [
            *("drive", "lift", "--server", "ws://127.0.0.1:9", "--plans", "thread", "--device", "cuda", "--engine", "eager"),
            *("--precision", "bf16", "--threads", "2"),
        ],
        2,
        "made on the server: set --plans, --device, --engine, --precision, --threads there",
    ),
    (["serve", "lift", "--port", "99999"], 2, "--port must be at most 65535"),
    (["serve", "lift", "--tls-cert", "server.pem"], 2, "TLS needs both --tls-cert and --tls-key"),
    (["serve", "lift", "--tls-cert", "no.pem", "--tls-key", "no.key"], 2, "there is no certificate no.pem"),
    (["serve", "lift", "--host", "ws://0.0.0.0"], 2, "a host is a name or an address"),
    (["serve", "lift", "--host", "192.0.2.77"], 2, "cannot listen on 192.0.2.77"),
    (["drive", "lift", "--server", "http://127.0.0.1"], 2, "is not a policy server"),
    (["drive", "lift", "--server", "wss://127.0.0.1", "--ca", "no.pem"], 2, "there is no certificate no.pem"),
    (["serve", "hf:lift"], 2, "'hf:lift' is not a name on the Hub; names are hf:owner/name or hf:owner/name@revision"),
    (["drive", "lift", "--ca", "no.pem"], 2, "--ca is for --server"),
    *(([*words.split(), "/proc/out"], 2, ": cannot write there (") for words in UNWRITABLE),
    (["drive", "lift", "--rerun", "seen.txt"], 2, "--rerun seen.txt: name a file that ends in .rrd"),
    (["data", "inspect", "pyproject.toml", "--rerun", "seen"], 2, "--rerun seen: name a file that ends in .rrd"),
    (["data", "inspect", "pyproject.toml", "--plot", "seen.txt"], 2, "--plot seen.txt: name a file that ends in .png"),
    *(([*name.split(), "--help"], 0, f"paradp {name}") for name in entry.COMMANDS),
]


def test_a_name_is_checked_without_heavy_imports():
    """One process gets all questions; each answer lists the modules imported so far."""
    program = f"""
import contextlib, io, json, sys
from paradp.scripts import main as entry
for arguments, code, word in {MISTAKES_AND_QUESTIONS!r}:
    sys.argv = ["paradp", *arguments]
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        try:
            entry.main()
            ended = 0
        except SystemExit as exit_:
            ended = exit_.code or 0
    heavy = [name for name in {HEAVY!r} if name in sys.modules]
    print(json.dumps([arguments, ended == code, word in said.getvalue(), heavy]))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(answers) == len(MISTAKES_AND_QUESTIONS), done.stderr
    assert [answer for answer in answers if answer[1:] != [True, True, []]] == []


def typed_hints(name: str) -> dict[str, object]:
    """Option → type, for a command's own options and those made from a config."""
    hints: dict[str, object] = {}
    for flag, hint in get_type_hints(command(name), include_extras=True).items():
        inner = get_args(hint)[0] if get_args(hint) else hint
        hints |= get_type_hints(inner, include_extras=True) if is_dataclass(inner) else {flag: hint}
    return hints


NUMBERS = [
    (name, flag, hint) for name in entry.COMMANDS for flag, hint in typed_hints(name).items() if next(_limits(hint), None)
]


def test_limits_of_a_config_are_found():
    assert {(name, flag) for name, flag, _ in NUMBERS} >= {("serve", "port"), ("serve", "threads"), ("bench", "batch")}


@pytest.mark.parametrize(("name", "flag", "hint"), NUMBERS)
@pytest.mark.parametrize("typed", ["least", "most", "nan"])
def test_numbers_out_of_their_limits_are_refused(name, flag, hint, typed, monkeypatch, capsys):
    """Zero, negative, huge and not a number: one sentence, exit code 2, before a task is looked up."""
    limits = next(_limits(hint))
    whole = "float" not in str(hint)
    if whole and typed == "nan":
        pytest.skip("not a whole number: tyro refuses it")
    value = {"least": limits.least - (0 if limits.above else 1), "most": 10.0**30, "nan": float("nan")}[typed]
    shown = str(int(value)) if whole else str(value)
    option = f"--{flag.replace('_', '-')}={shown}"
    monkeypatch.setattr(sys, "argv", ["paradp", *name.split(), "no-such-thing", *_required(name), option])
    with pytest.raises(SystemExit) as ended:
        entry.main()
    said = capsys.readouterr().err.strip()
    assert ended.value.code == 2 and len(said.splitlines()) == 1
    assert said.startswith(f"paradp: --{flag.replace('_', '-')} must be")


def _required(name: str) -> list[str]:
    return {"data import": ["--out", "x"], "convert": ["--out", "x"], "release": ["--runs", "x"]}.get(name, [])


def test_every_number_has_limits():
    for name in entry.COMMANDS:
        for flag, hint in typed_hints(name).items():
            if {"int", "float"} & set(re.findall(r"\w+", str(hint).partition("_ArgConfig")[0])):
                known = next(_limits(hint), None) or (name, flag) in UNLIMITED or name in CHECKED_BY_THEIR_CONFIG
                assert known, f"{name} --{flag}"


# Checked where it is used, with a sentence of its own: a sampler's option.
UNLIMITED = {("rollout", "tolerance")}
# See test_options.py.
CHECKED_BY_THEIR_CONFIG = {"train", "distill"}


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("name", entry.COMMANDS)
def test_help_fits_the_terminal_and_keeps_the_lines_of_examples(name, width, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setattr(sys, "argv", ["paradp", *name.split(), "--help"])
    with pytest.raises(SystemExit):
        entry.main()
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    usage = 1 + next(i for i, line in enumerate(lines[1:]) if not line.startswith("       "))
    assert max(map(len, lines[usage:])) <= width
    source = inspect.cleandoc(command(name).__doc__).partition("\nArgs:")[0].splitlines()
    examples = [line for line in source if line.startswith("    ")]
    assert examples and all(f" {example}" in lines for example in examples)


def test_descriptions_are_wrapped_and_examples_are_not():
    def documented() -> None:
        """One two three four five six seven.

            paradp one \\
                --two

        Args:
            nothing: of it.
        """

    assert description(documented, 20) == " One two three four\n five six seven.\n\n     paradp one \\\n         --two"


def test_the_lines_of_an_argument_are_joined(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "400")
    monkeypatch.setattr(sys, "argv", ["paradp", "rollout", "--help"])
    with pytest.raises(SystemExit):
        entry.main()
    printed = capsys.readouterr().out
    assert "TASK" in printed and "the time that the plan takes on this machine. fixed:MS: always MS milliseconds." in printed


def described(printed: str) -> dict[str, str]:
    """Option or argument → its help text, from help printed for a wide terminal."""
    found = re.findall(r"^[│ ] ?(\S.*?)  +(\S.*?) *│?$", printed, re.MULTILINE)
    return {option: text for option, text in found if re.match(r"-|[A-Z\[{]", option)}


@pytest.mark.parametrize("name", entry.COMMANDS)
def test_every_option_has_a_sentence(name, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "600")
    monkeypatch.setattr(sys, "argv", ["paradp", *name.split(), "--help"])
    with pytest.raises(SystemExit):
        entry.main()
    options = described(capsys.readouterr().out)
    assert any("--help" in option for option in options) and len(options) > 1
    assert not [option for option, text in options.items() if text.startswith(("(default", "(required"))]
    assert not [option for option, text in options.items() if text.endswith("(default: )")]


def test_an_option_without_a_sentence_is_detected():
    assert described("│ --data PATH  (default: None)    │\n│ TASK   the task  │") == {
        "--data PATH": "(default: None)",
        "TASK": "the task",
    }


def test_the_page_of_samplers_has_every_option():
    page = (ROOT / "docs/samplers.md").read_text()
    named = {option for way in WAYS.values() for option in way.options} | {
        o for kind in KINDS.values() for o in kind.options
    }
    assert not [option for option in named if f"`{option}`" not in page and f"`{option}=" not in page]
    assert not [kind for kind in KINDS if f"`{kind}`" not in page and f"`{kind}-N`" not in page]


def test_lazy_packages_export_their_type_checked_imports():
    for room in ("sampler", "policy", "checkpoints", "rollouts"):
        tree = ast.parse((ROOT / room / "__init__.py").read_text())
        (guard,) = (node for node in tree.body if isinstance(node, ast.If))
        typed = {
            (node.module, alias.name) for node in guard.body if isinstance(node, ast.ImportFrom) for alias in node.names
        }
        package = import_module(f"paradp.{room}")
        assert sorted(name for _, name in typed) == package.__all__
        for module, name in typed:
            assert getattr(package, name) is getattr(import_module(module), name)
        assert set(package.__all__) <= set(dir(package))
        with pytest.raises(AttributeError, match="no_such_name"):
            package.no_such_name  # noqa: B018


def test_an_interrupt_during_the_shutdown_of_python_has_no_effect():
    """It comes from an object that is destroyed last, after Python has restored signal handlers."""
    code = """
import os, signal, sys
import paradp.scripts.main

class Last:
    def __del__(self, kill=os.kill, me=os.getpid(), interrupt=signal.SIGINT):
        kill(me, interrupt)

paradp.scripts.main.last = Last()
sys.argv = ["paradp", "--version"]
paradp.scripts.main.main()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "") and done.stdout.startswith("paradp ")


def test_an_interrupt_during_imports_ends_in_a_sentence(tmp_path):
    program = f"import sys; sys.argv[1:] = ['evaluate', 'lift', '--out', {str(tmp_path / 'never')!r}]\n{RUN}"
    environment = os.environ | {"PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # whoever runs the tests may ignore it
    )
    assert process.stdout is not None and "loading" in process.stdout.readline()
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    _, complaint = process.communicate(timeout=60)
    assert process.returncode == 130 and complaint.startswith("interrupted") and len(complaint.splitlines()) == 1


@pytest.mark.parametrize(
    ("words", "left"),
    [
        ("bench lift", "outputs may be missing or incomplete; run the same command again"),
        ("drive lift", "a recording may be incomplete"),
        ("data import x.hdf5", "nothing was written"),
        ("nonsense", "nothing was written"),
        ("rollout lift", "finished work is kept; run the same command again to continue"),
        ("study agreement", "outputs may be missing or incomplete; run the same command again"),
    ],
)
def test_an_interrupt_says_what_it_leaves(words, left, monkeypatch, capsys):
    def interrupted(arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(sys, "argv", ["paradp", *words.split()])
    monkeypatch.setattr(entry, "_run", interrupted)
    monkeypatch.setattr(entry.atexit, "register", lambda *_: None)
    with pytest.raises(SystemExit) as ended:
        entry.main()
    assert ended.value.code == 130 and capsys.readouterr().err == f"interrupted: {left}\n"


def test_only_commands_that_promise_to_continue_say_so_when_interrupted():
    for name, one in entry.COMMANDS.items():
        promised = "The same command continues" in " ".join((command(name).__doc__ or "").split())
        assert promised == (one.interrupted == CONTINUES), name


def test_no_message_installs_paradp_from_an_index_that_does_not_have_it():
    for path in ROOT.glob("*/**/*.py"):
        if path.relative_to(ROOT).parts[0] in ("sampler", "policy", "envs", "rollouts", "checkpoints", "scripts"):
            assert not re.search(r"pip install ['\"]?paradp|paradp\[", path.read_text()), path


def test_progress_without_a_terminal_takes_few_lines():
    now, written = [0.0], []
    lines = Lines("episodes", 200, written.append, clock=lambda: now[0])
    for done in range(101):
        now[0] += 1.5
        lines.report(done)
    assert written[0] == "episodes: 200 to do" and len(written) == 1 + 5
    assert written[-1] == "episodes: 100 of 200, about 2 min left"
    lines.tick()
    assert len(written) == 6
    now[0] += 21
    lines.tick()
    assert len(written) == 7 and "100 of 200" in written[-1]
    lines.report(200, "done")
    assert written[-1] == "episodes: 200 of 200, done"


def test_remaining_time_does_not_count_earlier_work():
    now, written = [0.0], []
    lines = Lines("episodes", 100, written.append, clock=lambda: now[0])
    lines.report(80)
    assert written == ["episodes: 20 to do, 80 of 100 done"]
    now[0] = 10.0
    lines.report(90)
    assert written[-1] == "episodes: 90 of 100, about 10 s left"


def test_finished_work_does_not_count_as_remaining():
    written = []
    lines = Lines("episodes", 1, written.append)
    lines.report(1)
    lines.tick()
    assert written == ["episodes: nothing to do, 1 of 1 done"]


def test_a_slow_start_is_named_once():
    now, written = [0.0], []
    lines = Lines("training", 100, written.append, clock=lambda: now[0])
    for _ in range(50):
        lines.tick()
        now[0] += 1
    lines.report(0)
    assert written == ["training …", "training: 100 to do"]


def test_phases_follow_each_other(capsys):
    with console.Phases() as phases:
        for done in range(4):
            phases.report("episodes", done, 3)
        for done in range(2):
            phases.report(console.ALONE, done, 1)
    assert capsys.readouterr().out.splitlines() == [
        "episodes: 3 to do",
        "episodes: 3 of 3",
        "one robot alone, for its latency: 1 to do",
        "one robot alone, for its latency: 1 of 1",
    ]


def test_lists_take_commas_and_blanks():
    assert words("a, b  c,d") == ["a", "b", "c", "d"]
    assert clocks("ideal,fixed:200 replay:my file,2.parquet,measured") == [
        "ideal",
        "fixed:200",
        "replay:my file,2.parquet",
        "measured",
    ]
    assert joined(["--sampler", "ddpm", "auto", "lift"]) == ["--sampler", "ddpm,auto", "lift"]
    assert joined(["lift", "--samplers=paper", "ddim-10:eta=0.5", "--live"]) == [
        "lift",
        "--samplers=paper,ddim-10:eta=0.5",
        "--live",
    ]
    assert joined(["--sampler", "ddim-10", "stack"], before_a_task=False) == ["--sampler", "ddim-10", "stack"]
    assert joined(["--sampler", "ddim-10", "./ddpm"], before_a_task=False) == ["--sampler", "ddim-10", "./ddpm"]
    assert joined(["rollout", "auto"]) == ["rollout", "auto"]


def test_each_command_has_its_own_default_directory(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    settings = {"seed": 0, "clock": "ideal"}

    def place(task="lift", names=("ddpm",), **changed):
        return default_out("rollout", task, names, tmp_path, settings | changed)

    assert place() == place() and place().parts[:2] == ("runs", "rollout") and place().name.startswith("lift-ddpm-")
    others = [place(seed=1), place(names=("ddpm", "auto")), place(task="can"), place(clock="fixed:200")]
    before = place()
    (tmp_path / "config.json").write_text('{"model_sha256": "other"}')
    assert len({before, place(), *others}) == 6


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["rollout", "lift", "--out", "file"], "--out file: file is a file, not a directory"),
        (["rollout", "lift", "--out", "file/run"], "file is a file, not a directory"),
        (["rollout", "lift", "--sampler", "ddpm", "ddpm"], "--sampler must name one or several different samplers"),
        (["rollout", "lift", "--sampler", ","], "--sampler must name one or several different samplers"),
        (["rollout", "lift", "--disturbance", "flood"], "unknown disturbance 'flood'"),
        (["rollout", "lift", "--checkpoint", "file"], "file is a file; a checkpoint of paradp is a directory"),
        (["evaluate", "lift", "--page", "."], "--page . is a directory; name a file"),
        (["evaluate", "lift", "--out", "file"], "file is a file, not a directory"),
        (["evaluate", "lift", "--disturbance", "none,flood"], "unknown disturbance 'flood'"),
        (["drive", "lift", "--out", "driven"], "driven/drive.json exists; choose another --out"),
        (["drive", "lift", "--trace", "."], "--trace . is a directory"),
        (["drive", "pusht-state"], "comes without weights"),
        (["bench", "lift", "--json", "driven"], "--json driven is a directory"),
        (["bench", "lift", "--out", "file"], "file is a file, not a directory"),
        (["collect", "lift", "--out", "file"], "file is a file, not a directory"),
        (["train", "lift", "--data", "file"], "holds no demonstrations: it is a file"),
        (["train", "lift", "--data", "nowhere"], "collect them (paradp collect lift --out nowhere)"),
        (["train", "lift", "--data", "demos", "--out", "file"], "file is a file, not a directory"),
        (["train", "lift", "--learning-rate", "nan"], "--learning-rate must be from 0 to 1000, not nan"),
        (["train", "lift", "--channels"], "channels must be positive numbers"),
        (["data", "import", "file", "--out", "driven"], "driven exists; choose another --out or remove it"),
        (["data", "import", "nowhere", "--out", "new"], "there is no file nowhere"),
        (["data", "inspect", "file", "--plot", "driven"], "--plot driven is a directory"),
        (["release", "square", "--runs", "driven"], "driven holds no finished run"),
        (["serve", "pusht-state"], "the task 'pusht-state' comes without weights"),
        (["info", "--checkpoint", "driven"], "the checkpoint driven lacks"),
        (["study", "spread", "sqare"], "did you mean 'square'"),
    ],
)
def test_places_and_names_are_checked_before_anything_is_loaded(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    (tmp_path / "driven").mkdir()
    (tmp_path / "driven/drive.json").write_text("{}")
    (tmp_path / "demos").mkdir()
    (tmp_path / "demos/zarr.json").write_text("{}")
    before = sorted(tmp_path.rglob("*"))
    monkeypatch.setattr(console, "loading", lambda *_: pytest.fail("loaded first"))
    for module in {command.module for command in entry.COMMANDS.values()}:
        monkeypatch.setattr(f"paradp.scripts.{module}.loading", lambda *_: pytest.fail("loaded first"), raising=False)
    monkeypatch.setattr(sys, "argv", ["paradp", *arguments])
    with pytest.raises(SystemExit) as ended:
        entry.main()
    said = capsys.readouterr().err.strip()
    assert ended.value.code == 2 and message in said and len(said.splitlines()) == 1
    assert sorted(tmp_path.rglob("*")) == before


def test_every_list_is_read_with_commas_or_blanks():
    found = []

    def several(clock: Clocks = (), name: Words = (), batch: Numbers = (), controller: Controllers = ()) -> None:
        """Takes several.

        several
        """
        found.append((clock, name, batch, controller))

    for typed in (
        "--clock ideal fixed:200 --name a b --batch 1 4 --controller sync ahead",
        "--clock ideal,fixed:200 --name a,b --batch 1,4 --controller sync,ahead",
    ):
        call(several, "several", typed.split())
    assert found == [(("ideal", "fixed:200"), ("a", "b"), (1, 4), ("sync", "ahead"))] * 2
    with pytest.raises(ValueError, match="--batch must be at least 1, not 0"):
        call(several, "several", ["--batch", "1,0"])


def test_a_mistake_is_a_sentence_also_where_the_terminal_draws_boxes():
    """The list above is asked where the encoding is unknown, so that tyro draws none."""
    program = f"import sys; sys.argv[1:] = ['rollout', 'lift', '--sede', '3']\n{RUN}"
    environment = os.environ | {"PYTHONIOENCODING": "utf-8", "TERM": "xterm-256color", "FORCE_COLOR": "1", "COLUMNS": "40"}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment)
    assert (
        done.returncode == 2 and "there is no option --sede — did you mean --seed? See paradp rollout --help" in done.stderr
    )
    assert "│" not in done.stderr

"""A folder of LeRobot works wherever a command takes a checkpoint."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from documented import ROOT, blocks, joined
from lerobot_fixtures import PUSHT, for_pusht
from seeing import seeing_in_lerobots_form

PARADP = Path(sys.executable).with_name("paradp")


@pytest.fixture
def checkpoint(tmp_path) -> Path:
    return for_pusht(tmp_path / "theirs")


def test_info_shows_the_policy_and_names_missing_facts(checkpoint, printed_by):
    said = printed_by("info", "--checkpoint", checkpoint, refused=True)
    assert "does not say its task, control_hz, action_low, action_high: write them into" in said
    # An example that is copied must not become limits, to which actions are clipped.
    (checkpoint / "paradp.yaml").write_text("\n".join(re.findall(r'"(\w+: .*?)",', said)))
    assert "paradp.yaml cannot be read: task: Input should be a valid string" in printed_by(
        "info", "--checkpoint", checkpoint, refused=True
    )
    (checkpoint / "paradp.yaml").write_text(PUSHT)
    said = printed_by("info", "--checkpoint", checkpoint)
    assert "diffusion policy of LeRobot" in said and "1-D U-Net, channels 16-24" in said
    assert "observation.state 2, observation.environment_state 16" in said and "sampler | ddpm |" in said


def test_a_rollout_without_facts_or_with_wrong_ones_names_them(checkpoint, printed_by, tmp_path):
    arguments = (
        "rollout",
        "pusht",
        "--checkpoint",
        checkpoint,
        "--sampler",
        "ddim-2",
        "--engine",
        "eager",
        "--out",
        tmp_path / "run",
    )
    said = printed_by(*arguments, refused=True)
    assert (
        "does not say its task" in said and "which, if its actions are pusht's position (goal_xy 2: 2 values), are" in said
    )
    # The lines of the message are the task's facts, under the stated condition.
    lines = re.findall(r'"(\w+: .*?)"[,.]', said)
    facts = yaml.safe_load("\n".join(lines))
    known = yaml.safe_load(PUSHT)
    assert facts == {name: known[name] for name in ("task", "control_hz", "action_low", "action_high")}
    for line, other, said in (
        ("control_hz: 10", "control_hz: 20", "does not fit the task 'pusht': its control_hz is 20, the task's is 10"),
        (
            "action_convention: position\n",
            "",
            "its actions are as recorded (goal_xy 2: 2 values), the task's: position (goal_xy 2: 2 values)",
        ),
        ("{agent_pos: 2}", "agent_pos", ""),
    ):
        assert line in PUSHT
        (checkpoint / "paradp.yaml").write_text(PUSHT.replace(line, other))
        if said:
            assert said in printed_by(*arguments, refused=True)
    # A vector of one part may be given by its name alone.
    printed_by(*arguments, "--episodes", 1, "--max-steps", 3)
    assert json.loads((tmp_path / "run/summary.json").read_text())["episodes"] == 1


def documented_conversion() -> list[str]:
    """The words of the command of docs/bridges.md that converts a policy of the Hub for PushT."""
    lines = (line for block in blocks(ROOT / "docs/bridges.md", "text") for line in joined(block.text).splitlines())
    [line] = [line for line in lines if line.startswith("paradp convert hf:lerobot/diffusion_pusht")]
    return shlex.split(line)[1:]


def test_the_documented_conversion_makes_a_policy_that_runs(printed_by, tmp_path, monkeypatch):
    """With a small policy that has the features of lerobot/diffusion_pusht: a state, an image and an action."""
    monkeypatch.chdir(tmp_path)
    theirs = seeing_in_lerobots_form("pusht", tmp_path / "theirs")
    rollout = ("rollout", "pusht", "--checkpoint", "mine", "--sampler", "ddim-2", "--engine", "eager", "--out", "run")
    words = [theirs if word.startswith("hf:") else word for word in documented_conversion()]
    printed_by(*words)
    printed_by(*rollout, "--episodes", 1, "--max-steps", 3)
    assert json.loads(Path("run/summary.json").read_text())["episodes"] == 1


def test_every_fact_that_a_conversion_lacks_is_named_with_its_option(printed_by, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = documented_conversion()
    few = words[3 : words.index("--action-convention")]
    printed_by("convert", seeing_in_lerobots_form("pusht", tmp_path / "theirs"), "--out", *few)
    said = printed_by("rollout", "pusht", "--checkpoint", "mine", refused=True)
    named = ("--action-convention position", "--action goal_xy:2", "--controller kp=100 kv=20", "--observation")
    assert all(f"({option})" in said for option in named), said
    assert "the image 'observation.image', and the task's images are: image" in said and "control_hz" not in said


@pytest.mark.slow
def test_bench_measures_a_policy_of_another_program(checkpoint, printed_by, tmp_path):
    (checkpoint / "paradp.yaml").write_text(PUSHT)
    rows, how = tmp_path / "rows.json", ("--engines", "eager", "--repeats", 2)
    printed_by("bench", "pusht", "--checkpoint", checkpoint, *how, "--json", rows)
    assert {row["engine"] for row in json.loads(rows.read_text())} >= {"eager"}


def test_a_policy_of_lerobot_is_served(checkpoint):
    (checkpoint / "paradp.yaml").write_text(PUSHT)
    command = [PARADP, "serve", checkpoint, "--port", "0", "--sampler", "ddim-2", "--engine", "eager"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        line = next(line for line in server.stdout if "serving at" in line)
        assert re.search(r"ws://[\d.:]+", line)
    finally:
        server.kill()
        server.wait()
        server.stdout.close()

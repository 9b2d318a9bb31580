"""A folder of LeRobot works wherever a command takes a checkpoint."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from lerobot_fixtures import PUSHT, for_pusht

PARADP = Path(sys.executable).with_name("paradp")


@pytest.fixture
def checkpoint(tmp_path) -> Path:
    return for_pusht(tmp_path / "theirs")


def test_info_shows_the_policy_and_names_missing_facts(checkpoint, printed_by):
    said = printed_by("info", "--checkpoint", checkpoint, refused=True)
    assert "does not say its task, control_hz, action_low, action_high: write them into" in said
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
    assert "does not say its task" in printed_by(*arguments, refused=True)
    for line, other, said in (
        ("control_hz: 10", "control_hz: 20", "does not fit the task 'pusht': its control_hz is 20, the task's is 10"),
        (
            "action_convention: position\n",
            "",
            "the task 'pusht' takes: position (goal_xy 2: 2 values)",
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

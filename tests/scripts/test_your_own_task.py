"""docs/your-own-task.md followed by a user: a package adds a task."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

PARADP = Path(sys.executable).with_name("paradp")
PAGE = (Path(__file__).parents[2] / "docs/your-own-task.md").read_text()


@pytest.fixture
def installed(tmp_path):
    """What `pip install` makes of the page's two blocks."""
    block = {kind: PAGE.split(f"```{kind}\n")[1].split("```")[0] for kind in ("python", "toml")}
    (tmp_path / "bread_task.py").write_text(block["python"])
    [group, line] = [text for text in block["toml"].splitlines() if text]
    assert group == '[project.entry-points."paradp.tasks"]'
    about = tmp_path / "bread_task-0.1.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: bread-task\nVersion: 0.1\n")
    (about / "entry_points.txt").write_text(f"[paradp.tasks]\n{line.replace(chr(34), '')}\n")
    return tmp_path


def run(installed: Path, *arguments: str) -> subprocess.CompletedProcess:
    environment = os.environ | {"PYTHONPATH": str(installed)}
    return subprocess.run([PARADP, *arguments], capture_output=True, text=True, env=environment, cwd=installed, timeout=300)


def test_the_task_is_listed(installed):
    listed = run(installed, "tasks")
    assert listed.returncode == 0 and "bread" in listed.stdout and "square" in listed.stdout, listed.stderr
    told = run(installed, "tasks", "bread").stdout
    assert "BreadExpert" in told and "bread_in_eef_pos" in told
    mistyped = run(installed, "tasks", "bred")
    assert mistyped.returncode == 2 and "did you mean 'bread'" in mistyped.stderr


def test_a_package_that_is_broken_is_named(installed):
    (installed / "bread_task.py").write_text("BREAD = 3")
    told = run(installed, "tasks")
    assert told.returncode == 2 and "the task 'bread' of bread_task:BREAD is a int, not a TaskEntry" in told.stderr
    assert "Traceback" not in told.stderr
    # Who does not need it is not bothered.
    assert run(installed, "tasks", "lift").returncode == 0


@pytest.mark.slow
def test_it_is_demonstrated_learned_and_evaluated(installed):
    """Everything works on it; that so small a training learns it is not claimed."""
    collected = run(installed, "collect", "bread", "--episodes", "4", "--out", "bread.zarr")
    assert collected.returncode == 0 and "4 episodes" in collected.stdout, collected.stderr
    arguments = ["--data", "bread.zarr", "--out", "bread", "--steps", "20", "--batch-size", "32", "--channels", "16", "32"]
    trained = run(installed, "train", "bread", *arguments)
    assert trained.returncode == 0, trained.stderr
    arguments = ["--checkpoint", "bread/checkpoint", "--sampler", "ddim-5", "--episodes", "1", "--max-steps", "20"]
    rolled = run(installed, "rollout", "bread", *arguments, "--videos", "0", "--out", "out")
    assert rolled.returncode == 0, rolled.stderr
    assert json.loads((installed / "out/summary.json").read_text())["task"] == "bread"

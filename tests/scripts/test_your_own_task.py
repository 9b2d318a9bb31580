"""docs/your-own-task.md followed by a user: packages that add a task, and a task with its own actions."""

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
from documented import ROOT, blocks

from paradp.policy.requests import PlanRequest
from paradp.policy.serving import Remote

PARADP = Path(sys.executable).with_name("paradp")
PAGE = ROOT / "docs/your-own-task.md"
BREAD, REACH, *_ = zip(blocks(PAGE, "python"), blocks(PAGE, "toml"), strict=False)


def install(blocks, module: str, folder: Path) -> Path:
    """Writes what `pip install` would for a file and its entry points."""
    file, project = (block.text for block in blocks)
    (folder / f"{module}.py").write_text(file)
    about = folder / f"{module}-0.1.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 0.1\n")
    lines = []
    for group, points in tomllib.loads(project)["project"]["entry-points"].items():
        lines += [f"[{group}]", *(f"{name} = {value}" for name, value in points.items())]
    (about / "entry_points.txt").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture
def installed(tmp_path):
    return install(BREAD, "bread_task", tmp_path)


@pytest.fixture
def reaching(tmp_path):
    return install(REACH, "reach_task", tmp_path)


def settings(installed: Path) -> dict:
    path = os.pathsep.join([str(installed), os.environ.get("PYTHONPATH", "")])
    return {"env": os.environ | {"PYTHONPATH": path}, "cwd": installed, "text": True}


def run(installed: Path, *arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run([PARADP, *arguments], capture_output=True, timeout=300, **settings(installed))


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
    assert "unknown sampler 'nonsense'" in run(installed, "rollout", "pusht", "--sampler", "nonsense").stderr


@pytest.mark.slow
def test_a_task_of_a_package_is_demonstrated_learned_and_evaluated(installed):
    """All commands work on it; such a small training need not learn it."""
    collected = run(installed, "collect", "bread", "--episodes", "4", "--out", "bread.zarr")
    assert collected.returncode == 0 and "4 episodes" in collected.stdout, collected.stderr
    arguments = ["--data", "bread.zarr", "--out", "bread", "--steps", "20", "--batch-size", "32", "--channels", "16", "32"]
    trained = run(installed, "train", "bread", *arguments)
    assert trained.returncode == 0, trained.stderr
    arguments = ["--checkpoint", "bread/checkpoint", "--sampler", "ddim-5", "--episodes", "1", "--max-steps", "20"]
    rolled = run(installed, "rollout", "bread", *arguments, "--videos", "0", "--out", "out")
    assert rolled.returncode == 0, rolled.stderr
    assert json.loads((installed / "out/summary.json").read_text())["task"] == "bread"


def test_a_task_with_actions_of_its_own_is_listed(reaching):
    listed = run(reaching, "tasks")
    assert listed.returncode == 0 and "reach" in listed.stdout, listed.stderr
    told = run(reaching, "tasks", "reach").stdout
    assert "reach-velocities" in told and "joint_velocities" in told and "ReachExpert" in told
    mistaken = run(reaching, "collect", "reach", "--action-convention", "reach-velocity")
    assert mistaken.returncode == 2 and "did you mean 'reach-velocities'" in mistaken.stderr
    assert "There are: reach-velocities." in mistaken.stderr


DEMONSTRATED = """
import gymnasium, numpy
from paradp.envs import find_convention, find_task
entry = find_task("reach")
env = gymnasium.make(entry.task.env_id, action_convention="reach-velocities")
expert, successes, ways = entry.demonstrator(), [], set()
for seed in range(10):
    observation, _ = env.reset(seed=seed)
    expert.reset(seed)
    done = False
    while not done:
        command = expert.act(observation)
        assert env.action_space.contains(command.action)
        observation, _, terminated, truncated, info = env.step(command.action)
        done = terminated or truncated
    successes.append(info["success"])
    ways.add(bool(observation["joints_sin"][1] > 0))
assert entry.task.film_problem == entry.task.render_problem
assert all(successes) and len(ways) == 2, (successes, ways)
assert find_convention("reach-velocities").path(numpy.ones((50, 2)))[-1].tolist() == [1, 1]
"""


def test_the_guides_expert_reaches_with_either_elbow(reaching):
    done = subprocess.run([sys.executable, "-c", DEMONSTRATED], capture_output=True, timeout=300, **settings(reaching))
    assert done.returncode == 0, done.stderr


def test_an_environment_that_cannot_be_made_ends_a_collection_with_its_own_error(reaching):
    module = reaching / "reach_task.py"
    module.write_text(module.read_text().replace("choose_gl()", "raise ValueError('model file missing')", 1))
    told = run(reaching, "collect", "reach", "--episodes", "1", "--workers", "1", "--out", "demos.zarr")
    assert told.returncode == 2 and "model file missing" in told.stderr
    assert "Traceback" not in told.stderr and "died" not in told.stderr


BROKEN = {
    "import no_such_module": "cannot be imported: No module named 'no_such_module'",
    "VELOCITIES = 3": "the action convention 3 is a int and lacks name, unit, parts",
    "VELOCITIES = type('reach', (), {})": "is a class; an object of it is needed",
}


@pytest.mark.parametrize("broken", BROKEN)
def test_a_broken_convention_is_named_and_affects_nothing_else(reaching, broken):
    (reaching / "broken_actions.py").write_text(broken)
    about = reaching / "reach_task-0.1.dist-info/entry_points.txt"
    about.write_text(about.read_text().replace("reach_task:VELOCITIES", "broken_actions:VELOCITIES"))
    told = run(reaching, "tasks", "reach")
    assert told.returncode == 2 and BROKEN[broken] in told.stderr and "Traceback" not in told.stderr
    assert run(reaching, "tasks", "lift").returncode == 0


@pytest.mark.slow
def test_a_task_with_its_own_actions_is_demonstrated_learned_evaluated_and_served(reaching):
    """The commands of the guide, with small numbers; such a small training need not learn it."""
    train = ["--data", "demos/reach.zarr", "--steps", "20", "--batch-size", "32", "--channels", "16", "32"]
    few = ["--samplers", "ddpm-5,para-ddpm-5", "--episodes", "2", "--max-steps", "20"]
    checkpoint = "runs/reach/checkpoint"
    for arguments in (
        ["collect", "reach", "--episodes", "4"],
        ["train", "reach", "--out", "runs/reach", *train],
        ["evaluate", "reach", "--checkpoint", checkpoint, *few, "--workers", "1", "--out", "runs/reach-evaluation"],
    ):
        done = run(reaching, *arguments)
        assert done.returncode == 0, done.stderr
    assert "rad/s³" in (reaching / "runs/reach-evaluation/report.md").read_text()
    stranger = run(reaching, "rollout", "pusht", "--checkpoint", checkpoint)
    assert stranger.returncode == 2
    assert "its actions are reach-velocities (joint_velocities 2: 2 values)" in stranger.stderr
    assert "the task's: position (goal_xy 2: 2 values)" in stranger.stderr
    serve = ["serve", checkpoint, "--sampler", "ddim-5", "--engine", "eager", "--port", "0"]
    with subprocess.Popen([PARADP, *serve], stdout=subprocess.PIPE, **settings(reaching)) as server:
        try:
            uri = next(found.group() for line in server.stdout if (found := re.search(r"ws://[\w.:]+", line)))
            remote = Remote(uri)
            assert remote.spec.action_convention == "reach-velocities"
            seen = {key: np.zeros((2, size), np.float32) for key, size in remote.spec.observation.items()}
            actions = remote.submit(PlanRequest(seen, noise_seed=3)).result(60).actions
            remote.close()
        finally:
            server.terminate()
    assert actions.shape[-1] == 2 and np.abs(actions).max() <= 6

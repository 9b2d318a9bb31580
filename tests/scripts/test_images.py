"""A task with image observations, from the environment to the plan: collected, trained, rolled out, served."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import spot_task

from paradp.checkpoints import load_policy
from paradp.policy import RecedingHorizon
from paradp.policy.data.demonstrations import Demonstrations
from paradp.policy.requests import PlanRequest, plan_together
from paradp.policy.serving import Remote
from paradp.scripts.studies.published import cells_of

PARADP = Path(sys.executable).with_name("paradp")
TRAIN = ("--data", "spot.zarr", "--out", "spot", "--steps", "20", "--batch-size", "32", "--vision", "pixels")
LEARN = (*TRAIN, "--channels", "16", "32")
ROLL = ("--checkpoint", "spot/checkpoint", "--sampler", "ddim-5", "--episodes", "1", "--max-steps", "20")
SERVE = ("serve", "spot/checkpoint", "--sampler", "ddim-5", "--engine", "eager", "--port", "0")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A folder with the task's installed package, four demonstrations and a slightly trained policy."""
    folder = tmp_path_factory.mktemp("spot")
    shutil.copy(spot_task.__file__, folder)
    about = folder / "spot_task-0.1.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: spot-task\nVersion: 0.1\n")
    (about / "entry_points.txt").write_text("[paradp.tasks]\nspot = spot_task:SPOT\n")
    collect = ("--episodes", "4", "--workers", "1", "--action-convention", "position", "--out", "spot.zarr")
    for arguments in (("collect", "spot", *collect), ("train", "spot", *LEARN)):
        done = subprocess.run([PARADP, *arguments], **settings(folder), capture_output=True, timeout=300)
        assert done.returncode == 0, done.stderr
    return folder


def settings(folder: Path) -> dict:
    return {"env": os.environ | {"PYTHONPATH": str(folder)}, "cwd": folder, "text": True}


@pytest.mark.slow
def test_images_are_stored_as_observed(folder):
    there = Demonstrations.open(folder / "spot.zarr")
    pictures = there.observations()["camera"]
    assert there.info.observation == {"camera": (6, 6, 1)} and pictures.dtype == np.uint8
    assert pictures.shape == (there.steps, 6, 6, 1) and (pictures.sum((1, 2, 3)) == 255).all()
    told = subprocess.run([PARADP, "data", "inspect", "spot.zarr"], **settings(folder), capture_output=True, timeout=300)
    assert told.returncode == 0 and "image of 6 × 6 × 1" in told.stdout, told.stderr


@pytest.mark.slow
def test_plans_depend_on_the_images(folder):
    policy = load_policy(folder / "spot/checkpoint", "ddim-5", engine="eager")
    plans = []
    for corner in (0.0, 511.0):
        controller = RecedingHorizon(policy)
        controller.reset(0)
        plans.append(controller.act({"camera": spot_task.picture(np.full(2, corner))}).action)
    assert np.isfinite(plans).all() and not np.array_equal(*plans)
    controller.reset(0)
    with pytest.raises(ValueError, match="'camera' is an image and must be of dtype uint8, not float64"):
        controller.act({"camera": np.zeros((6, 6, 1))})


@pytest.mark.slow
def test_a_policy_with_images_is_rolled_out(folder):
    rolled = subprocess.run(
        [PARADP, "rollout", "spot", *ROLL, "--out", "out"], **settings(folder), capture_output=True, timeout=300
    )
    assert rolled.returncode == 0, rolled.stderr
    assert json.loads((folder / "out/summary.json").read_text())["task"] == "spot"


@pytest.mark.slow
def test_plans_from_a_server_equal_local_ones(folder):
    policy = load_policy(folder / "spot/checkpoint", "ddim-5", engine="eager")
    pictures = np.stack([spot_task.picture(np.full(2, at)) for at in (300.0, 350.0)])
    request = PlanRequest({"camera": pictures}, noise_seed=3)
    with subprocess.Popen([PARADP, *SERVE], **settings(folder), stdout=subprocess.PIPE) as server:
        try:
            uri = next(found.group() for line in server.stdout if (found := re.search(r"ws://[\w.:]+", line)))
            remote = Remote(uri)
            assert remote.spec.observation == {"camera": (6, 6, 1)}
            chunk = remote.submit(request).result(60)
            remote.close()
        finally:
            server.terminate()
    [expected] = plan_together(policy, [request])
    assert np.abs(chunk.actions - expected.actions).max() < 1e-3


@pytest.mark.slow
def test_the_study_of_images_compares_its_samplers(folder):
    run = folder / "runs/spot-image"
    run.mkdir(parents=True)
    (run / "checkpoint").symlink_to(folder / "spot/checkpoint")
    refused = subprocess.run([PARADP, "study", "images", "spot"], **settings(folder), capture_output=True, timeout=300)
    assert refused.returncode == 2 and "holds no episodes of ddpm" in refused.stderr
    for sampler in ("ddpm", "ddim-10"):
        out = ("--sampler", sampler, "--episodes", "2", "--out", f"runs/spot-image/cells/{sampler}")
        rolled = subprocess.run(
            [PARADP, "rollout", "spot", *ROLL, *out], **settings(folder), capture_output=True, timeout=300
        )
        assert rolled.returncode == 0, rolled.stderr
    done = subprocess.run(
        [PARADP, "study", "images", "spot", "--out", "page"], **settings(folder), capture_output=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    episodes, latencies, [trained] = (rows for _, *rows in cells_of((folder / "page/images.md").read_text()))
    assert [row[:2] for row in episodes] == [["spot", "`ddpm`"], ["spot", "`ddim-10`"]]
    rewards = [
        json.loads((run / f"cells/{sampler}/summary.json").read_text())["reward"]["mean"] for sampler in ("ddpm", "ddim-10")
    ]
    assert float(episodes[1][4].split()[0]) == pytest.approx(rewards[1] - rewards[0], abs=2e-3)
    assert [row[-2:] for row in episodes] == [["100.0", "100"], ["10.0", "10"]]
    assert len(latencies) == 8 and all(float(row[5]) > 0 for row in latencies)
    assert trained[1].startswith("`paradp train spot")

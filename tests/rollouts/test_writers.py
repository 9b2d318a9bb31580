"""Two processes that write the same output: each command keeps others out while it runs."""

import shutil
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from paradp.checkpoints import find_checkpoint
from paradp.policy.data.demonstrations import Demonstrations
from paradp.policy.files.lock import LOCK_NAME
from paradp.policy.learning.training import TrainingConfig, train
from paradp.policy.networks.unet_config import UnetConfig
from paradp.rollouts import RolloutConfig, rollout
from paradp.rollouts.collect import collect
from paradp.rollouts.episodes.backends import LocalProcesses, ThisProcess
from paradp.rollouts.evaluation.grid import Grid, evaluate
from paradp.rollouts.imports.importing import import_file
from paradp.rollouts.imports.recordings import read_file
from paradp.rollouts.workers import Workers
from paradp.sampler import SamplerChoice

HOLD = """
import sys
from filelock import FileLock
with FileLock(sys.argv[1], blocking=False):
    print("held", flush=True)
    sys.stdin.read()
"""
HUMAN = Path(__file__).parents[1] / "data" / "robosuite_human"
TRAINING = TrainingConfig(steps=2, batch_size=4, warmup_steps=1, network=UnetConfig(channels=(8, 16)), bf16=False)


@contextmanager
def another_process(lock: Path):
    """Yields whether another process could lock a file; if it could, it holds it meanwhile."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(lock)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        yield process.stdout.readline() == "held\n"
    finally:
        process.kill()
        process.communicate()


def config(out: Path) -> RolloutConfig:
    return RolloutConfig("lift", SamplerChoice.parse("ddim-5"), out, episodes=1, engine="eager")


def collects(out, report):
    collect("pusht", 1, out, "position", seed=0, workers=1, on_progress=lambda *_: report())


def imports(out, report):
    [file] = sorted(HUMAN.glob("*.hdf5"))[:1]
    import_file(read_file(file), out, action_convention="delta", on_progress=lambda *_: report())


def rolls_out(out, report):
    rollout(config(out), lambda *_: report())


def evaluates(out, report):
    base = config(out)
    evaluate(Grid(base, (base.sampler,)), on_progress=lambda *_: report(), backend=ThisProcess())


def trains(out, report, demonstrations):
    train(demonstrations, TRAINING, out, lambda *_: None, lambda *_: report())


@pytest.mark.parametrize(
    ("command", "locks"),
    [
        (collects, [".{}.lock"]),
        (imports, [".{}.lock"]),
        (rolls_out, ["{}/" + LOCK_NAME]),
        pytest.param(
            evaluates,
            [f"{{}}/{place}{LOCK_NAME}" for place in ("", "cells/ddim-5/", "alone/ddim-5/")],
            marks=pytest.mark.slow,
        ),
        (trains, ["{}/" + LOCK_NAME]),
    ],
)
def test_a_running_command_locks_others_out(command, locks, tmp_path, demonstrations):
    more = [demonstrations] if command is trains else []
    places = [tmp_path / lock.format("out") for lock in locks]

    def probe():
        if not reached:
            for place in places:
                with another_process(place) as could:
                    reached.append(could)

    reached: list[bool] = []
    command(tmp_path / "out", probe, *more)
    assert reached == [False] * len(places)
    if command is imports:  # what is there is not imported again
        return
    for place in places:
        with another_process(place) as could, pytest.raises(ValueError, match=r"is being written by"):
            assert could
            command(tmp_path / "out", lambda: None, *more)
        # That one was killed: the next goes on at once.
    command(tmp_path / "out", lambda: None, *more)


@pytest.mark.slow
def test_a_rollout_cannot_write_to_a_running_evaluation(tmp_path):
    out, cell, refused = tmp_path / "out", tmp_path / "out" / "cells" / "ddim-5", []
    command = [sys.executable, "-c", "from paradp.scripts.main import main; main()"]
    command += ["rollout", "lift", "--sampler", "ddim-5", "--engine", "eager", "--episodes", "1", "--videos", "0"]

    def intrude():
        if not refused:
            refused.append(subprocess.run([*command, "--out", str(cell)], capture_output=True, text=True))

    evaluates(out, intrude)
    [found] = refused
    assert found.returncode == 2 and "cells/ddim-5 " in found.stderr.replace("\n", " ") and "Traceback" not in found.stderr


@pytest.mark.parametrize("count", [0, -1])
def test_no_workers_and_no_episodes_are_refused(count, tmp_path):
    out = tmp_path / "out.zarr"
    for call in (
        lambda: Workers(count),
        lambda: LocalProcesses(count),
        lambda: collect("pusht", 1, out, "position", workers=count),
        lambda: collect("pusht", count, out, "position", workers=1),
    ):
        with pytest.raises(ValueError, match=rf"(workers|episodes) must be at least 1, not {count}"):
            call()
    assert not list(tmp_path.iterdir())


def test_a_run_only_grows(tmp_path):
    """Fewer episodes would take the place of the tables of more."""
    two = replace(config(tmp_path / "out"), episodes=2)
    rollout(two)
    before = {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()}
    with pytest.raises(ValueError, match="holds a run of 2 episodes; their number can only grow: give at least 2 or choose"):
        rollout(replace(two, episodes=1))
    assert {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()} == before
    assert rollout(replace(two, episodes=3)).episodes == 3


@pytest.mark.slow
def test_a_run_belongs_to_one_checkpoint_including_its_normalisers(tmp_path):
    """Weights alone do not say what a policy does."""
    checkpoint = tmp_path / "lift"
    shutil.copytree(find_checkpoint("lift"), checkpoint)
    mine = replace(config(tmp_path / "out"), checkpoint=str(checkpoint))
    grid = Grid(replace(mine, out=tmp_path / "grid"), (mine.sampler,))
    rollout(mine)
    evaluate(grid, backend=ThisProcess())
    (checkpoint / "README.md").write_text("described better")
    evaluate(grid, backend=ThisProcess())
    statistics = (checkpoint / "statistics.json").read_text()
    (checkpoint / "statistics.json").write_text(statistics.replace("[", "[ ", 1))
    for again in (lambda: rollout(mine), lambda: evaluate(grid, backend=ThisProcess())):
        with pytest.raises(ValueError, match=r"\(checkpoint_sha256: [0-9a-f]{12}… there, [0-9a-f]{12}… here\)"):
            again()


def test_demonstrations_can_be_continued_after_a_collection(tmp_path):
    first = collect("pusht", 1, tmp_path / "d.zarr", seed=0, workers=1)
    with another_process(tmp_path / ".d.zarr.lock") as could:
        assert could and len(first) == 1 == len(Demonstrations.open(tmp_path / "d.zarr"))

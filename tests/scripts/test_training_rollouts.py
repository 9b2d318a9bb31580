"""Rollouts during a training (`--evaluate-every`) and TensorBoard metrics do not change the training."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from paradp.checkpoints import ModelCard, checkpoint_digest
from paradp.scripts.training_rollouts import Evaluated, Evaluating, TrainingRollouts, read_evaluations

STORE = Path(__file__).parent.parent / "data" / "behaviour" / "demonstrations.zarr"
LITTLE = (
    "--steps",
    "20",
    "--save-every",
    "10",
    "--log-every",
    "5",
    "--batch-size",
    "8",
    "--channels",
    "8",
    "16",
    "--no-bf16",
)


@pytest.fixture
def train(paradp):
    """Trains on a few demonstrations of PushT; returns the exit code and the output."""

    def run(out, *arguments):
        code, said, err = paradp("train", "pusht", "--data", STORE, "--out", out, *LITTLE, *arguments)
        return code, said + err

    return run


@pytest.mark.slow
def test_rollouts_and_tensorboard_do_not_change_the_training(train, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    code, said = train(tmp_path / "seen", "--evaluate-every", "10", "--evaluate-episodes", "1", "--tensorboard")
    assert code == 0, said
    assert train(tmp_path / "plain")[0] == 0
    assert checkpoint_digest(tmp_path / "seen/checkpoint") == checkpoint_digest(tmp_path / "plain/checkpoint")

    tried = read_evaluations(tmp_path / "seen")
    assert [one.step for one in tried] == [10, 20] and all(0 <= one.reward <= 1 for one in tried)
    assert all(str(one) in said for one in tried)
    assert (tmp_path / "seen/evaluations/20/videos").is_dir()

    board = EventAccumulator(str(tmp_path / "seen/tensorboard")).Reload()
    assert [event.step for event in board.Scalars("loss/validation")] == [5, 10, 15, 20]
    assert [(event.step, event.value) for event in board.Scalars("rollouts/reward")] == [
        (one.step, pytest.approx(one.reward)) for one in tried
    ]


def test_rollouts_that_fail_do_not_end_the_training(train, monkeypatch, tmp_path):
    def fail(self, step):
        raise ValueError(f"the rollouts after {step} steps failed: no display")

    monkeypatch.setattr(TrainingRollouts, "run", fail)
    code, said = train(tmp_path / "run", "--evaluate-every", "10")
    assert code == 0 and "the rollouts after 10 steps failed: no display" in said
    assert (tmp_path / "run/loss.png").exists() and read_evaluations(tmp_path / "run") == []


@pytest.mark.parametrize(("interrupted", "made_up"), [(10, [10, 20]), (20, [20])])
def test_interrupted_rollouts_are_run_when_the_training_continues(interrupted, made_up, train, monkeypatch, tmp_path):
    ran, out = {}, tmp_path / "run"

    def run(self, step):
        before, ran[step] = ran.get(step), checkpoint_digest(out / "checkpoint")
        if step == interrupted and before is None:
            raise KeyboardInterrupt
        assert step != interrupted or before == ran[step]
        return Evaluated(step, 1.0, 1.0)

    monkeypatch.setattr(TrainingRollouts, "run", run)
    assert train(out, "--evaluate-every", "10")[0] == 130
    (out / "checkpoint").rename(tmp_path / "first")  # as if the save had been interrupted, too
    said = train(out, "--evaluate-every", "10")[1]
    assert [step for step in (10, 20) if f"after {step} steps: success 1.00" in said] == made_up
    assert said.count("after 20 steps: success") == 1


def test_completed_rollouts_are_not_due_again(tmp_path):
    rollouts = TrainingRollouts("pusht", "diffusion", tmp_path, Evaluating(evaluate_every=10), "cpu")
    assert rollouts.due(10) and not rollouts.due(0) and not rollouts.due(15)
    (tmp_path / "evaluations/10").mkdir(parents=True)
    assert rollouts.due(10)
    (tmp_path / "evaluations/10/summary.json").touch()
    assert not rollouts.due(10)


def test_a_training_from_the_start_forgets_the_rollouts_of_earlier_weights(train, monkeypatch, tmp_path):
    ran = []

    def run(self, step):
        ran.append(step)
        self._folder(step).mkdir(parents=True)
        (self._folder(step) / "summary.json").touch()
        return Evaluated(step, 1.0, 1.0)

    monkeypatch.setattr(TrainingRollouts, "run", run)
    monkeypatch.setattr("paradp.scripts.loss_plot.read_evaluations", lambda out: [])
    assert train(tmp_path, "--evaluate-every", "10")[0] == 0
    assert train(tmp_path, "--evaluate-every", "10")[0] == 0 and ran == [10, 20]  # finished: nothing to do
    (tmp_path / "state.safetensors").unlink()
    assert train(tmp_path, "--evaluate-every", "10", "--seed", "5")[0] == 0 and ran == [10, 20, 10, 20]


def test_an_error_in_the_card_comes_before_the_training(train, monkeypatch, tmp_path):
    def fail(self):
        raise ValueError("no card")

    monkeypatch.setattr(ModelCard, "render", fail)
    code, said = train(tmp_path / "run")
    assert code == 2 and "no card" in said
    assert not (tmp_path / "run/state.safetensors").exists()


def test_a_failed_rollout_names_its_reason(tmp_path):
    rollouts = TrainingRollouts("pusht", "diffusion", tmp_path, Evaluating(evaluate_every=10), "cpu")
    assert [step for step in range(31) if rollouts.due(step)] == [10, 20, 30]
    with pytest.raises(ValueError, match=r"the rollouts after 10 steps failed: .*checkpoint"):
        rollouts.run(10)


def test_rollouts_import_nothing_from_the_working_folder(tmp_path, monkeypatch):
    (tmp_path / "numpy.py").write_text("raise SystemExit('this is of the working folder')")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"the rollouts after 10 steps failed: .*checkpoint"):
        TrainingRollouts("pusht", "diffusion", tmp_path, Evaluating(evaluate_every=10), "cpu").run(10)


# In the place of `paradp rollout`: says its process, and never ends.
ROLLOUT = """
import os, time
from pathlib import Path

def main():
    Path(os.environ["PYTHONPATH"], "pid").write_text(f"{os.getpid()}.")
    time.sleep(600)
"""
TRAINING = """
import os, sys
from pathlib import Path
from paradp.scripts.training_rollouts import Evaluating, TrainingRollouts

os.environ["PYTHONPATH"] = sys.argv[1]
TrainingRollouts("pusht", "diffusion", Path(sys.argv[1]) / "out", Evaluating(evaluate_every=10), "cpu").run(10)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's word on a parent's death is Linux's")
@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGKILL])
def test_rollouts_end_with_a_training_that_is_killed(sign, tmp_path):
    (tmp_path / "paradp/scripts").mkdir(parents=True)
    for package in ("paradp", "paradp/scripts"):
        (tmp_path / package / "__init__.py").touch()
    (tmp_path / "paradp/scripts/main.py").write_text(ROLLOUT)
    training = subprocess.Popen([sys.executable, "-c", TRAINING, str(tmp_path)])
    said = tmp_path / "pid"
    wait_for(lambda: said.exists() and said.read_text().endswith("."), training)
    child = int(said.read_text().rstrip("."))
    training.send_signal(sign)
    training.wait()
    try:
        wait_for(lambda: not goes_on(child))
    finally:
        if goes_on(child):
            os.kill(child, signal.SIGKILL)


def wait_for(found: Callable[[], bool], process: subprocess.Popen | None = None) -> None:
    deadline = time.monotonic() + 20
    while not found():
        assert time.monotonic() < deadline and (process is None or process.poll() is None)
        time.sleep(0.02)


def goes_on(pid: int) -> bool:
    """Whether a process runs; zombies do not count."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_impossible_rollouts_are_refused_before_the_training(train, tmp_path):
    code, said = train(tmp_path / "run", "--evaluate-every", "15")
    assert code == 2 and "--evaluate-every must be a multiple of --save-every, 10, not 15" in said
    assert not (tmp_path / "run").exists()


def test_success_is_drawn_beside_the_losses(tmp_path, monkeypatch):
    from matplotlib import pyplot

    from paradp.policy.learning.metrics_log import MetricsLog
    from paradp.scripts import loss_plot

    log = MetricsLog(tmp_path / "metrics.jsonl", 0)
    for step in (10, 20):
        log.write(step, 0.5, 0.6, 1e-3)
    monkeypatch.setattr(loss_plot, "read_evaluations", lambda out: [Evaluated(10, 0.2, 0.5), Evaluated(20, 0.6, 0.8)])
    drawn = []
    monkeypatch.setattr(loss_plot, "save", lambda figure, path: drawn.append(figure))
    loss_plot.plot_training(tmp_path, tmp_path / "loss.png")
    _, success = drawn[0].axes
    assert [list(line.get_ydata()) for line in success.lines] == [[0.2, 0.6], [0.5, 0.8]]
    assert [text.get_text() for text in success.get_legend().get_texts()] == ["success", "reward"]
    pyplot.close(drawn[0])

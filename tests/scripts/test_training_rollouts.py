"""A policy is tried while it is trained (`--evaluate-every`), and its metrics go to TensorBoard, without changing it."""

from pathlib import Path

import pytest

from paradp.checkpoints import checkpoint_digest
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
    """Trains on a few demonstrations of PushT; returns the exit code and what was said."""

    def run(out, *arguments):
        code, said, err = paradp("train", "pusht", "--data", STORE, "--out", out, *LITTLE, *arguments)
        return code, said + err

    return run


@pytest.mark.slow
def test_rollouts_and_tensorboard_leave_the_training_as_it_is(train, tmp_path):
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


def test_a_failed_rollout_names_its_reason(tmp_path):
    rollouts = TrainingRollouts("pusht", "diffusion", tmp_path, Evaluating(evaluate_every=10), "cpu")
    assert [step for step in range(31) if rollouts.due(step)] == [10, 20, 30]
    with pytest.raises(ValueError, match=r"the rollouts after 10 steps failed: .*checkpoint"):
        rollouts.run(10)


def test_what_is_impossible_is_said_before_the_training(train, tmp_path):
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
